//! [`Fields`]: the fields of a head that matter here.

use httparse::Header;

use super::{
    browser::BrowserFields,
    forwarded::{FieldName, Forwarded, ForwardedField},
    head_error::HeadError,
    range,
    span::Span,
};

/// Relevant fields, collected but not validated: errors are reported in the order syntax, method,
/// framing.
#[derive(Default)]
pub struct Fields<'a> {
    pub host: Option<&'a [u8]>,
    /// A length, or a list of them.
    pub content_length: Option<&'a [u8]>,
    pub transfer_encoding: Option<&'a [u8]>,
    /// The error text for the first field that must not repeat, or not differ, and does.
    pub repeated: Option<&'static str>,
    /// `Connection: close`.
    pub close: bool,
    /// `Connection: keep-alive`.
    pub persist: bool,
    /// A `Keep-Alive` field, whatever it says.
    pub asks_timeout: bool,
    pub expects_continue: bool,
    /// Any expectation but `100-continue`.
    pub expects_other: bool,
    pub content_range: bool,
    /// `Range` asks for a later part of a body.
    pub begins_later: bool,
    pub forwarded: Forwarded,
    pub browser: BrowserFields,
}

impl<'a> Fields<'a> {
    /// Collects the fields in one pass over `headers`, which httparse found in `head`.
    ///
    /// # Errors
    /// A line of `head` ends with a bare LF, or too many fields are to be forwarded.
    pub fn read(head: &'a [u8], headers: &[Header<'a>]) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        for header in headers {
            let name = Span::locate(header.name.as_bytes(), head);
            check_line_before(head, usize::from(name.start))?;
            fields.take(head, header)?;
        }
        let last_line = head.len() - 2;
        check_line_before(head, last_line)?;
        check_line_before(head, head.len())?;
        Ok(fields)
    }

    /// Matches on the length of the name first: most fields cost one comparison of integers.
    fn take(&mut self, head: &'a [u8], header: &Header<'a>) -> Result<(), HeadError> {
        let value = header.value;
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            4 if is("host") => self.once(|fields| &mut fields.host, value, HOST_TWICE),
            5 if is("range") => self.begins_later |= range::begins_later(value),
            6 if is("expect") => self.take_expectation(value),
            6 if is("origin") => self.browser.take_origin(Span::locate(value, head)),
            10 if is("connection") => self.take_connection(value),
            10 if is("keep-alive") => self.asks_timeout = true,
            11 if is("sec-purpose") => self.browser.take_purpose(value),
            12 if is("content-type") => self.forward(head, header, FieldName::ContentType)?,
            13 if is("content-range") => self.content_range = true,
            14 if is("content-length") => self.take_length(value),
            14 => self.browser.take(header.name, value),
            16 if is("content-encoding") => {
                self.forward(head, header, FieldName::ContentEncoding)?
            }
            16 if is("content-language") => {
                self.forward(head, header, FieldName::ContentLanguage)?
            }
            17 if is("transfer-encoding") => {
                self.once(|fields| &mut fields.transfer_encoding, value, CODING_TWICE)
            }
            19 if is("content-disposition") => {
                self.forward(head, header, FieldName::ContentDisposition)?
            }
            _ => {}
        }
        Ok(())
    }

    /// Sets a field that must not repeat; `twice` is the error text if it does.
    fn once(
        &mut self,
        slot: impl FnOnce(&mut Self) -> &mut Option<&'a [u8]>,
        value: &'a [u8],
        twice: &'static str,
    ) {
        if slot(self).replace(value).is_some() {
            self.repeated.get_or_insert(twice);
        }
    }

    /// Lines with the same length are one (RFC 9110 §8.6).
    fn take_length(&mut self, value: &'a [u8]) {
        let Some(first) = self.content_length.replace(value) else {
            return;
        };
        match (same_lengths(first), same_lengths(value)) {
            (Some(one), Some(again)) if one == again => self.content_length = Some(one),
            _ => {
                self.repeated.get_or_insert(LENGTHS_DIFFER);
            }
        }
    }

    /// A comma-separated list; empty elements are ignored (RFC 9110 §10.1.1, §5.6.1.2). A comma within a
    /// quoted string need not be told apart: only another expectation has one.
    fn take_expectation(&mut self, value: &[u8]) {
        for element in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if element.eq_ignore_ascii_case(b"100-continue") {
                self.expects_continue = true;
            } else if !element.is_empty() {
                self.expects_other = true;
            }
        }
    }

    /// A comma-separated list of case-insensitive options; the field may repeat (RFC 9110 §7.6.1).
    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.persist |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn forward(
        &mut self,
        head: &[u8],
        header: &Header<'_>,
        name: FieldName,
    ) -> Result<(), HeadError> {
        self.forwarded.push(ForwardedField::new(head, header, name))
    }
}

/// The one length in a list of lengths; `None` if two of them differ. They have to be the same bytes:
/// `05` is 5 to one reader and an error, or octal, to another. It may be no length at all.
pub fn same_lengths(list: &[u8]) -> Option<&[u8]> {
    let mut lengths = list.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let first = lengths.next()?;
    lengths.all(|length| length == first).then_some(first)
}

/// Refuses a head whose line before offset `next` ends with a bare LF.
///
/// httparse accepts no CR without LF, so a CR two bytes before `next` belongs to a CRLF.
fn check_line_before(head: &[u8], next: usize) -> Result<(), HeadError> {
    if head[next - 2] != b'\r' {
        return Err(HeadError::BARE_LF);
    }
    Ok(())
}

const HOST_TWICE: &str = "the request has more than one Host field: send one";
pub const LENGTHS_DIFFER: &str = "the request has Content-Lengths that differ: send one";
const CODING_TWICE: &str =
    "the request has more than one Transfer-Encoding field: send `Transfer-Encoding: chunked` once";
