//! The executable: command line → [`Config`] → server; the exit code; nothing else.

use std::process::ExitCode;

use httpipe::{Cli, Config};

fn main() -> ExitCode {
    let config = match Config::from_cli(Cli::parse_or_exit()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("httpipe: {error}");
            return ExitCode::from(2);
        }
    };
    match httpipe::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("httpipe: {error}");
            ExitCode::from(1)
        }
    }
}
