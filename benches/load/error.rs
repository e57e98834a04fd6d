//! The error of the harness.

/// Whatever makes a row fail; its text is printed below the table.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

pub type Result<T> = std::result::Result<T, Error>;
