//! [`Forwarded`]: the fields that a consumer receives from its producer.

use httparse::Header;

use super::{head_error::HeadError, span::Span};
use crate::limits::FORWARDED_FIELDS_MAX;

/// The names of the forwarded fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "each is a field's full name")]
pub enum FieldName {
    ContentType,
    ContentEncoding,
    ContentLanguage,
    ContentDisposition,
}

/// One forwarded field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedField {
    pub name: FieldName,
    /// The line as received, without trailing white space and CRLF: valid in any other head.
    pub line: Span,
    /// The value, without surrounding white space.
    pub value: Span,
}

impl ForwardedField {
    /// The field line of `header`, which was parsed from `head`. `name` is its name.
    #[must_use]
    pub fn new(head: &[u8], header: &Header<'_>, name: FieldName) -> Self {
        let name_span = Span::locate(header.name.as_bytes(), head);
        let value = Span::locate(header.value, head);
        // An empty value may be located after white space, which is not part of the line.
        let end = if header.value.is_empty() {
            name_span.end + 1
        } else {
            value.end
        };
        let start = name_span.start;
        Self {
            name,
            line: Span { start, end },
            value,
        }
    }
}

/// The forwarded field lines, in order of arrival.
///
/// It keeps repeated Content-Type lines, although only one is valid (RFC 9110 §8.3). The writer of the
/// consumer's head must take the first only, so that the type is unambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    count: u8,
    fields: [ForwardedField; FORWARDED_FIELDS_MAX],
}

impl Forwarded {
    /// Adds a field.
    ///
    /// # Errors
    /// There are [`FORWARDED_FIELDS_MAX`] already.
    pub fn push(&mut self, field: ForwardedField) -> Result<(), HeadError> {
        let slot = self.fields.get_mut(usize::from(self.count)).ok_or({
            HeadError::TooLarge(
                "the request has over 8 Content-Type, Content-Encoding, Content-Language and \
                 Content-Disposition lines in all: send fewer",
            )
        })?;
        *slot = field;
        self.count += 1;
        Ok(())
    }

    /// The field lines, in order of arrival. A name may repeat.
    pub fn iter(&self) -> impl Iterator<Item = ForwardedField> + '_ {
        self.fields[..usize::from(self.count)].iter().copied()
    }
}

impl Default for Forwarded {
    fn default() -> Self {
        const UNUSED: ForwardedField = ForwardedField {
            name: FieldName::ContentType,
            line: Span { start: 0, end: 0 },
            value: Span { start: 0, end: 0 },
        };
        Self {
            count: 0,
            fields: [UNUSED; FORWARDED_FIELDS_MAX],
        }
    }
}
