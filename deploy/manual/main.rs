//! Generates files from the definition of the options: the manual page, completions for three shells,
//! and the settings file for systemd. It is an example target, so its crates are dev-dependencies and
//! not part of the executable. Must never say of an option what `cli` does not say.
//!
//! ```text
//! cargo run --example manual -- target/manual
//! ```

mod page;
mod settings;

use std::{env, fs, io, path::Path, process::ExitCode};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};
use httpipe::Cli;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    let [folder] = arguments.as_slice() else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    match write_into(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

/// Writes every file into `folder`, and creates `folder` if it is missing.
fn write_into(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let command = Cli::command();
    fs::write(folder.join("httpipe.default"), settings::render(&command))?;
    let mut visible = visible(&command);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut visible, "httpipe", folder)?;
    }
    fs::write(folder.join("httpipe.1"), page::render(command)?)
}

/// `command` without its hidden options, which clap_complete would offer.
fn visible(command: &Command) -> Command {
    let options = command.get_arguments().filter(|a| !a.is_hide_set());
    Command::new("httpipe")
        .version(env!("CARGO_PKG_VERSION"))
        .args(options.cloned())
}
