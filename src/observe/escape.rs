//! Escapes what would break or reorder a line of the log in a terminal or a viewer. Pure.
//!
//! Works on finished lines, so that no field can be forgotten. The subscriber has escaped quotes,
//! backslashes and line feeds before.

use std::{borrow::Cow, fmt::Write};

use crate::config::Form;

const ESCAPE: u8 = 0x1b;

/// `line`, which ends with its only line feed, with every character that [`is_unsafe`] escaped as in a
/// string of `form`. `ansi`: the subscriber colours lines, so ESC stays; it has escaped those in fields.
pub fn line(line: &[u8], form: Form, ansi: bool) -> Cow<'_, [u8]> {
    let body = line.strip_suffix(b"\n").unwrap_or(line);
    if body.iter().all(|&byte| is_harmless(byte, ansi)) {
        return Cow::Borrowed(line);
    }
    // The subscriber writes UTF-8 only.
    let text = String::from_utf8_lossy(body);
    let mut escaped = String::with_capacity(line.len() + 16);
    for char in text.chars() {
        let keep = !is_unsafe(char) || (ansi && char == char::from(ESCAPE));
        if keep {
            escaped.push(char);
        } else {
            escape(&mut escaped, char, form);
        }
    }
    escaped.push('\n');
    Cow::Owned(escaped.into_bytes())
}

/// ASCII without controls: most lines consist of nothing else.
fn is_harmless(byte: u8, ansi: bool) -> bool {
    matches!(byte, b' '..=b'~') || (ansi && byte == ESCAPE)
}

/// Controls (C0, DEL, C1), line and paragraph separators, and the characters that change the direction of
/// text (`Bidi_Control`, UAX #9 §2).
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(
            char,
            '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// All of them have at most four hex digits.
fn escape(to: &mut String, char: char, form: Form) {
    let code = u32::from(char);
    let written = match form {
        Form::Json => write!(to, "\\u{code:04x}"),
        Form::Text | Form::Off => write!(to, "\\u{{{code:x}}}"),
    };
    written.expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str, form: Form, ansi: bool) -> String {
        let whole = format!("{text}\n");
        let escaped = line(whole.as_bytes(), form, ansi).into_owned();
        let escaped = String::from_utf8(escaped).expect("UTF-8");
        escaped.strip_suffix('\n').expect("a line feed").to_owned()
    }

    #[test]
    fn what_breaks_or_reorders_a_line_is_escaped_and_nothing_else() {
        for (text, json, plain) in [
            ("", "", ""),
            ("plain ~ text", "plain ~ text", "plain ~ text"),
            (
                "é 漢 \u{1f600} \u{200d} \u{a0}",
                "é 漢 \u{1f600} \u{200d} \u{a0}",
                "é 漢 \u{1f600} \u{200d} \u{a0}",
            ),
            ("a\u{2028}b", "a\\u2028b", "a\\u{2028}b"),
            ("\u{2029}", "\\u2029", "\\u{2029}"),
            (
                "é\u{202a}\u{202e}",
                "é\\u202a\\u202e",
                "é\\u{202a}\\u{202e}",
            ),
            ("\u{2066}\u{2069}", "\\u2066\\u2069", "\\u{2066}\\u{2069}"),
            ("\u{200e}\u{200f}", "\\u200e\\u200f", "\\u{200e}\\u{200f}"),
            ("\u{61c}", "\\u061c", "\\u{61c}"),
            (
                "\u{80}\u{85}\u{9b}\u{9f}",
                "\\u0080\\u0085\\u009b\\u009f",
                "\\u{80}\\u{85}\\u{9b}\\u{9f}",
            ),
            ("\u{7f}\r\0", "\\u007f\\u000d\\u0000", "\\u{7f}\\u{d}\\u{0}"),
            ("a\nb", "a\\u000ab", "a\\u{a}b"),
            ("\u{1b}[31m", "\\u001b[31m", "\\u{1b}[31m"),
        ] {
            assert_eq!(escaped(text, Form::Json, false), json, "{text:?}");
            assert_eq!(escaped(text, Form::Text, false), plain, "{text:?}");
        }
        // The characters beside the ranges stay.
        for char in [
            '\u{200d}', '\u{2010}', '\u{2027}', '\u{202f}', '\u{2065}', '\u{206a}', '\u{a0}',
        ] {
            assert_eq!(
                escaped(&char.to_string(), Form::Json, false),
                char.to_string()
            );
        }
    }

    #[test]
    fn colours_for_a_terminal_stay() {
        let coloured = "\u{1b}[32mINFO\u{1b}[0m a\u{9b}\u{202e}é";
        let expected = "\u{1b}[32mINFO\u{1b}[0m a\\u{9b}\\u{202e}é";
        assert_eq!(escaped(coloured, Form::Text, true), expected);
    }

    #[test]
    fn an_escaped_json_string_is_the_same_string() {
        let name = "\u{2028}\u{202e}\u{61c}\u{7f}é\\\u{2029}";
        let json = serde_json::to_string(name).expect("JSON");
        let back: String = serde_json::from_str(&escaped(&json, Form::Json, false)).expect("JSON");
        assert_eq!(back, name);
    }
}
