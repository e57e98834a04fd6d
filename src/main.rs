//! The executable: command line → `Config` → server; the exit code; nothing else.

use std::process::ExitCode;

use httpipe::{
    config::{Config, cli::Cli},
    observe::{log, process},
    server,
};

fn main() -> ExitCode {
    process::begin();
    let config = match Config::from_cli(Cli::parse_or_exit()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("httpipe: {error}");
            return ExitCode::from(2);
        }
    };
    let _until_the_end = log::open(config.log, config.access.is_some());
    if config.files.are_few() {
        tracing::warn!("{}", config.files);
    }
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("httpipe: {error}");
            ExitCode::from(1)
        }
    }
}
