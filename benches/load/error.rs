//! The error of the harness.

/// The error is whatever makes a row fail; its text is printed below the table.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
