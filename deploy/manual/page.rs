//! The manual page, `httpipe.1`: the options from clap, and the other usual sections of a manual page
//! (`man-pages(7)`) from `sections.man`.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

/// The sections after ENVIRONMENT, in `groff_man(7)`.
const SECTIONS: &str = include_str!("sections.man");

/// The heading. It has no date, so that two builds of one source are the same. Not from clap_mangen,
/// which omits an empty date, so that the next field would take its place.
const HEADING: &str = concat!(
    ".TH httpipe 1 \"\" \"httpipe ",
    env!("CARGO_PKG_VERSION"),
    "\" \"User Commands\"\n"
);

/// The page of `command`, in `groff_man(7)`.
///
/// # Errors
/// The rendered text is not UTF-8, which does not happen with clap's texts.
pub fn render(command: Command) -> io::Result<String> {
    let mut options = Vec::new();
    let environment = environment(&command);
    let man = Man::new(command);
    man.render_name_section(&mut options)?;
    man.render_synopsis_section(&mut options)?;
    man.render_description_section(&mut options)?;
    man.render_options_section(&mut options)?;
    environment.to_writer(&mut options)?;
    let options = String::from_utf8(options).map_err(io::Error::other)?;
    Ok(HEADING.to_owned() + &embolden(&options) + SECTIONS)
}

/// `text` with the parts between backticks in bold.
fn embolden(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(index, part)| match index % 2 {
            0 => part.to_owned(),
            _ => format!("\\fB{part}\\fR"),
        })
        .collect()
}

/// ENVIRONMENT: the variable of each option that has one, and `RUST_LOG`.
fn environment(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "An option on the command line overrides its variable. Values are the same as on the \
         command line; a switch is true or false, on or off, 1 or 0.",
    )]);
    for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
        if let (Some(name), Some(long)) = (argument.get_env(), argument.get_long()) {
            roff.control("TP", []);
            roff.text([bold(name.to_string_lossy())]);
            roff.text([roman("same as "), bold(format!("--{long}"))]);
        }
    }
    roff.control("TP", []);
    roff.text([bold("RUST_LOG")]);
    roff.text([roman(
        "level of the log on standard error: error, warn, info (the default), debug or trace",
    )]);
    roff
}
