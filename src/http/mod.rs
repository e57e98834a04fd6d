//! HTTP/1 as bytes: what a head says, where a body's payload lies, how a reply is written.
//!
//! Owns the syntax and framing rules of RFC 9112 and what RFC 9110 says about the fields that matter
//! here. Pure: must never touch a socket, a clock or the runtime, must never allocate on the way of
//! the data, and must never guess: framing that two readers could read differently is refused.

pub mod chunked;
pub mod decode;
pub mod encode;
pub mod fields;
pub mod forwarded;
pub mod head;
pub mod head_error;
pub mod host;
pub mod method;
pub mod reply;
pub mod span;
pub mod status;

/// `tchar` (RFC 9110 §5.6.2): what names of fields are made of.
const fn is_in_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        || byte.is_ascii_alphanumeric()
}

/// What a field's value is made of (RFC 9110 §5.5): visible characters, spaces, tabs, and bytes
/// outside of ASCII.
const fn is_in_field_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
