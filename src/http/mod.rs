//! HTTP/1 as bytes: parsing heads, decoding and encoding bodies, writing replies.
//!
//! Owns the syntax and framing of RFC 9112, and the semantics of the relevant fields (RFC 9110). Pure:
//! must never touch a socket, a clock or the runtime, and never allocate on the data path. Framing that
//! two parsers could read differently is refused, never guessed.

pub mod browser;
pub mod chunked;
pub mod decode;
pub mod encode;
pub mod fields;
pub mod forwarded;
pub mod head;
pub mod head_error;
pub mod host;
pub mod method;
pub mod range;
pub mod reframe;
pub mod reply;
pub mod span;
pub mod status;

/// `tchar` (RFC 9110 §5.6.2), the characters of a field name.
const fn is_in_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        || byte.is_ascii_alphanumeric()
}

/// The bytes of a field value (RFC 9110 §5.5): visible ASCII, space, tab, and bytes outside ASCII.
const fn is_in_field_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
