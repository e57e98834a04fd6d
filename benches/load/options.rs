//! The harness's command line. It says what to run; it must never start anything.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::client::target::Target;
use crate::error::Result;

/// Drives httpipe, and others beside it, through the table of goals.
#[derive(Parser, Debug)]
#[command(name = "load")]
pub struct Options {
    /// Only the rows whose name starts with NAME (may be given several times).
    #[arg(long = "row", value_name = "NAME")]
    pub rows: Vec<String>,
    /// Name the rows and what they do, run nothing.
    #[arg(long)]
    pub list: bool,
    /// Everything tiny: proves that the harness works, its figures mean nothing.
    #[arg(long)]
    pub smoke: bool,
    /// How often each row is repeated; figures are medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub rounds: u32,
    /// The server to run instead of the one that cargo built.
    #[arg(long, value_name = "EXECUTABLE")]
    pub server: Option<PathBuf>,
    /// An option for every server that the harness starts, e.g. `--server-option=--threads=1`.
    #[arg(
        long = "server-option",
        value_name = "OPTION",
        allow_hyphen_values = true
    )]
    pub server_options: Vec<String>,
    /// Another server to drive beside it, by address: http://HOST:PORT (may be repeated).
    #[arg(long, value_name = "URL")]
    attach: Vec<String>,
    /// Where it pairs POST with GET; `{channel}` stands for the channel. One for each --attach.
    #[arg(long, value_name = "PATH")]
    url_pattern: Vec<String>,
    /// Its process, to read CPU and memory from. One for each --attach.
    #[arg(long)]
    pid: Vec<u32>,
    /// What the table calls it. One for each --attach, or none.
    #[arg(long)]
    name: Vec<String>,
    /// Do not start httpipe: measure the attached servers only.
    #[arg(long)]
    pub only_attached: bool,
    /// Be the bare splice loop (the harness starts itself for that).
    #[arg(long, hide = true)]
    pub bare_loop: bool,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The options as given, or `None` if there is nothing to do.
///
/// `cargo test` runs the harness as it runs a test binary: without `--bench`, with whatever
/// arguments libtest takes. Then it is one test named `load_smoke`, which a filter may leave out.
/// Exits with clap's message and code on a bad command line of `cargo bench`.
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

/// Options of libtest whose value comes as an argument of its own: it is no filter.
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
    /// The attached servers, checked for completeness; the error says what is missing.
    pub fn attached(&self) -> Result<Vec<Target>> {
        let count = self.attach.len();
        let names_fit = self.name.is_empty() || self.name.len() == count;
        if self.url_pattern.len() != count || self.pid.len() != count || !names_fit {
            return Err(
                "each --attach needs its --url-pattern and --pid, in the same order \
                        (and its --name, or no names at all)"
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
            .map_err(|_| format!("--attach {url}: give it as http://ADDRESS:PORT"))?;
        let pattern = &self.url_pattern[index];
        if !pattern.starts_with('/') || !pattern.contains("{channel}") {
            return Err(
                format!("--url-pattern {pattern}: a path that contains {{channel}}").into(),
            );
        }
        let name = self.name.get(index).map_or(authority, String::as_str);
        Ok(Target::attached(name, address, pattern, self.pid[index]))
    }
}
