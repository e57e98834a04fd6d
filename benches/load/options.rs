//! The harness's command line. Must never start anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::client::target::Target;
use crate::error::Result;

/// Measures httpipe, and other servers beside it, against the table of goals.
#[derive(Parser, Debug)]
#[command(name = "load")]
pub struct Options {
    /// Run only the rows whose names start with NAME (repeatable).
    #[arg(long = "row", value_name = "NAME")]
    pub rows: Vec<String>,
    /// List the rows and run nothing.
    #[arg(long)]
    pub list: bool,
    /// Run everything at a tiny size: proves that the harness works; the figures mean nothing.
    #[arg(long)]
    pub smoke: bool,
    /// Rounds per row; the table shows medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// Measure this httpipe instead of the one that cargo built.
    #[arg(long, value_name = "EXECUTABLE")]
    pub server: Option<PathBuf>,
    /// Measure a second httpipe, such as an older build, side by side with the first in every row.
    ///
    /// Both take a turn in every round. The column "to beside" is the ratio of the medians.
    #[arg(long, value_name = "EXECUTABLE", conflicts_with = "only_attached")]
    pub beside: Option<PathBuf>,
    /// Pass OPTION to every httpipe that the harness starts, e.g. `--server-option=--threads=1`.
    #[arg(
        long = "server-option",
        value_name = "OPTION",
        allow_hyphen_values = true
    )]
    pub server_options: Vec<String>,
    /// Also measure a server that is already running, at http://ADDRESS:PORT (repeatable).
    #[arg(long, value_name = "URL")]
    attach: Vec<String>,
    /// Path on which it pairs POST with GET, with `{channel}` for the channel. One per --attach.
    #[arg(long, value_name = "PATH")]
    url_pattern: Vec<String>,
    /// Its process, whose CPU and memory are read. One per --attach.
    #[arg(long)]
    pid: Vec<u32>,
    /// Its name in the table. One per --attach, or none at all.
    #[arg(long)]
    name: Vec<String>,
    /// Measure only the attached servers; start no httpipe.
    #[arg(long)]
    pub only_attached: bool,
    /// Run as the bare splice loop; the harness starts itself with this.
    #[arg(long, hide = true)]
    pub bare_loop: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Parses the command line; `None` if there is nothing to run.
///
/// `cargo test` runs the harness like a test binary: without `--bench` and with libtest's arguments.
/// The harness then acts as one test named `load_smoke`, which a filter can exclude.
/// A bad command line of `cargo bench` exits with clap's message and code.
pub fn from_command_line() -> Option<Options> {
    let arguments: Vec<String> = std::env::args().collect();
    let by_cargo_bench = arguments.iter().any(|argument| argument == "--bench");
    match Options::try_parse_from(&arguments) {
        Ok(options) if by_cargo_bench || options.smoke || options.list || options.bare_loop => {
            Some(options)
        }
        Ok(options) => Some(Options {
            smoke: true,
            ..options
        }),
        Err(error) if by_cargo_bench || !error.use_stderr() => error.exit(),
        Err(_) => smoke_unless_filtered_out(&arguments[1..]),
    }
}

/// Options of libtest that take their value as a separate argument, which is not a filter.
const LIBTEST_VALUES: [&str; 6] = [
    "--test-threads",
    "--format",
    "--color",
    "--logfile",
    "--skip",
    "-Z",
];

fn smoke_unless_filtered_out(arguments: &[String]) -> Option<Options> {
    let mut filters = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if LIBTEST_VALUES.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with('-') {
            filters.push(argument);
        }
    }
    let wanted = |filter: &&String| "load_smoke".contains(filter.as_str());
    let runs = filters.is_empty() || filters.iter().any(wanted);
    runs.then(|| Options::parse_from(["load", "--smoke"]))
}

impl Options {
    /// The attached servers. The error says which option is missing or malformed.
    pub fn attached(&self) -> Result<Vec<Target>> {
        let count = self.attach.len();
        let names_fit = self.name.is_empty() || self.name.len() == count;
        if self.url_pattern.len() != count || self.pid.len() != count || !names_fit {
            return Err(
                "each --attach needs its own --url-pattern and --pid, in the same order \
                        (and its own --name, unless no name is given)"
                    .into(),
            );
        }
        (0..count).map(|index| self.attachment(index)).collect()
    }

    fn attachment(&self, index: usize) -> Result<Target> {
        let url = &self.attach[index];
        let authority = url
            .strip_prefix("http://")
            .unwrap_or(url)
            .trim_end_matches('/');
        let address: SocketAddr = authority
            .parse()
            .map_err(|_| format!("--attach {url}: expected http://ADDRESS:PORT"))?;
        let pattern = &self.url_pattern[index];
        if !pattern.starts_with('/') || !pattern.contains("{channel}") {
            return Err(format!(
                "--url-pattern {pattern}: expected a path that contains {{channel}}"
            )
            .into());
        }
        let name = self.name.get(index).map_or(authority, String::as_str);
        Ok(Target::attached(name, address, pattern, self.pid[index]))
    }
}
