//! The manual page, `httpipe.1`: what clap knows of the options, and around it the sections that a
//! reader of manual pages expects (`man-pages(7)`), written by hand in `sections.man`.

use std::io;

use clap::Command;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

/// The sections after ENVIRONMENT, in the language of `groff_man(7)`.
const SECTIONS: &str = include_str!("sections.man");

/// The heading. It has no date, so that two builds of one source are the same; by hand, because
/// clap_mangen leaves an empty date out, and what follows would take its place.
const HEADING: &str = concat!(
    ".TH httpipe 1 \"\" \"httpipe ",
    env!("CARGO_PKG_VERSION"),
    "\" \"User Commands\"\n"
);

/// The page of `command` in the language of `groff_man(7)`.
///
/// # Errors
/// What is rendered is not UTF-8, which clap's texts are.
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

/// `text` with what stands between backticks, as the options' help has it, in bold.
fn embolden(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts
        .map(|(index, part)| match index % 2 {
            0 => part.to_owned(),
            _ => format!("\\fB{part}\\fR"),
        })
        .collect()
}

/// ENVIRONMENT: a variable for each option that has one, and what is read besides.
fn environment(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "An option on the command line goes before its variable. A value is written as on the \
         command line; a switch is true or false, on or off, 1 or 0.",
    )]);
    for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
        if let (Some(name), Some(long)) = (argument.get_env(), argument.get_long()) {
            roff.control("TP", []);
            roff.text([bold(name.to_string_lossy())]);
            roff.text([roman("as "), bold(format!("--{long}"))]);
        }
    }
    roff.control("TP", []);
    roff.text([bold("RUST_LOG")]);
    roff.text([roman(
        "what is logged to standard error: error, warn, info, debug or trace; info unless given",
    )]);
    roff
}
