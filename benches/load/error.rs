//! The error of the harness.

/// Anything that makes a row fail; the text goes into the table.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
