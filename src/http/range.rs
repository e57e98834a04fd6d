//! The `Range` field of a request: whether it asks for a later part of a body. Pure.

/// Whether `value`, of a `Range` field, is a valid set of byte ranges (RFC 9110 §14.1.2) whose first one
/// does not begin at 0. A suffix range counts as one: the end of a body is not its beginning.
///
/// False for other units and for what is malformed: a server may ignore these (RFC 9110 §14.2).
#[cold]
#[must_use]
pub fn begins_later(value: &[u8]) -> bool {
    const UNIT: &[u8] = b"bytes=";
    let Some((unit, ranges)) = value.split_at_checked(UNIT.len()) else {
        return false;
    };
    if !unit.eq_ignore_ascii_case(UNIT) {
        return false;
    }
    // A recipient accepts empty elements (RFC 9110 §5.6.1.2).
    let elements = ranges.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let mut starts = elements
        .filter(|element| !element.is_empty())
        .map(Start::of);
    let first = starts.next().flatten();
    first == Some(Start::Later) && starts.all(|start| start.is_some())
}

/// Where a range begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Zero,
    Later,
}

impl Start {
    /// Of `first-last`, `first-` or `-suffix`; `None` if it is malformed.
    fn of(range: &[u8]) -> Option<Self> {
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let (first, last) = (&range[..dash], &range[dash + 1..]);
        let all_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        if !all_digits(first) || !all_digits(last) {
            return None;
        }
        match (first, last) {
            ([], []) => None,
            ([], _) => Some(Self::Later),
            // Invalid: it ends before it begins.
            (_, [_, ..]) if magnitude(last) < magnitude(first) => None,
            _ if first.iter().all(|&digit| digit == b'0') => Some(Self::Zero),
            _ => Some(Self::Later),
        }
    }
}

/// Orders numbers of any length: the count of digits first, then the digits.
fn magnitude(digits: &[u8]) -> (usize, &[u8]) {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    (digits.len() - zeros, &digits[zeros..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_set_of_byte_ranges_whose_first_begins_later_does_so() {
        let later = [
            "bytes=1-",
            "bytes=10-",
            "bytes=1-1",
            "bytes=9-10",
            "bytes=009-10",
            "bytes=18446744073709551616-18446744073709551617",
            "bYTES=5-9",
            "bytes=-1",
            "bytes=-0",
            "bytes=-00",
            "bytes=5-,0-",
            "bytes=,\t,5- , -5",
            "bytes= 5-",
        ];
        for value in later {
            assert!(begins_later(value.as_bytes()), "{value}");
        }
        let ignored = [
            "bytes=0-",
            "bytes=00-4",
            "bytes=0-4,5-",
            "bytes=0-,-5",
            "bytes=,0-",
            "items=5-",
            "byte=5-",
            "bytes:5-",
            "bytes",
            "",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=5",
            "bytes=x-",
            "bytes=5-x",
            "bytes=10-9",
            "bytes=18446744073709551617-18446744073709551616",
            "bytes=5--9",
            "bytes=--5",
            "bytes=5-,x",
            "bytes=5-,9-8",
            "bytes=5- 9",
            "bytes=5 -9",
            "bytes =5-",
            "bytes=\u{665}-",
        ];
        for value in ignored {
            assert!(!begins_later(value.as_bytes()), "{value}");
        }
    }
}
