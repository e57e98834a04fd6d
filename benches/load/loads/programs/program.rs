//! The programs that send a body, and how each is started. What they write was seen with strace.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Take, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use tempfile::TempDir;

use crate::error::Result;
use crate::servers::daemon::Daemon;
use crate::system::cores::Cores;

/// Bytes that the harness writes into a pipe at a time.
const PIPED_BYTES: usize = 64 << 10;

/// Without the user's configuration and proxies. Without `Expect`: where a server sends its final answer
/// instead of `100 Continue`, as piping-server-rust does, curl 7.88 waits a second before it sends the
/// body, and now and then never sends it.
const CURL: [&str; 9] = [
    "curl",
    "-q",
    "--noproxy",
    "*",
    "-sSf",
    "-H",
    "Expect:",
    "-T",
    "-",
];

#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// `curl -T -` reads from a pipe and sends what one read returned, up to 65524 bytes, as a chunk; one
    /// write a chunk. The method is `PUT`.
    Curl,
    /// A file stream of Node: chunks of 64 KiB, one `writev` a chunk.
    NodeFile,
    /// A stream of pieces that Node has in memory: the same.
    NodePieces,
    /// Python's `http.client` with an iterator: a chunk for each piece of so many bytes, one write a
    /// chunk. `requests` sends the same.
    Python { piece_bytes: usize },
    /// Go's `net/http`: chunks of 32 KiB, three writes a chunk (4096, 28678 and 2 bytes).
    Go,
}

/// The body: the first `bytes` of the file at `path`.
#[derive(Clone, Copy)]
pub struct Source<'source> {
    pub path: &'source Path,
    pub bytes: u64,
}

/// A program that only needs to be started.
pub struct Ready {
    /// Its executable and first arguments. The URL follows, and the source unless it is piped.
    words: Vec<OsString>,
    /// The program reads the body from a pipe.
    piped: bool,
    /// Where it was compiled.
    _folder: Option<TempDir>,
}

impl Program {
    /// Compiles the program if it needs that, which may take seconds.
    pub fn prepare(self) -> Result<Ready> {
        let words: Vec<OsString> = match self {
            Self::Curl => CURL.map(OsString::from).into(),
            Self::NodeFile => vec!["node".into(), text("send.js"), "file".into()],
            Self::NodePieces => vec!["node".into(), text("send.js"), "pieces".into()],
            Self::Python { piece_bytes } => {
                let piece_bytes = piece_bytes.to_string();
                vec!["python3".into(), text("send.py"), piece_bytes.into()]
            }
            Self::Go => {
                let folder = TempDir::new()?;
                return Ok(Ready {
                    words: vec![compile_go(folder.path())?.into()],
                    piped: false,
                    _folder: Some(folder),
                });
            }
        };
        Ok(Ready {
            words,
            piped: matches!(self, Self::Curl),
            _folder: None,
        })
    }
}

/// The path of a program's text, which is beside this file.
fn text(name: &str) -> OsString {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/load/loads/programs");
    folder.join(name).into()
}

/// Returns the executable, in `folder`.
fn compile_go(folder: &Path) -> Result<PathBuf> {
    let executable = folder.join("send");
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&executable)
        .arg(text("send.go"))
        .output()?;
    if output.status.success() {
        return Ok(executable);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("go build: {}: {}", output.status, errors.trim()).into())
}

impl Ready {
    /// Starts to send `source` to `url`. The program ends by itself, or when it is dropped.
    pub fn start(&self, url: &str, source: Source) -> Result<Daemon> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg(url);
        if self.piped {
            command.stdin(Stdio::piped());
        } else {
            command.arg(source.path).arg(source.bytes.to_string());
            command.stdin(Stdio::null());
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut daemon = Daemon::start(command, Cores::Any)?;
        if let Some(pipe) = daemon.take_stdin() {
            let body = File::open(source.path)?.take(source.bytes);
            std::thread::spawn(move || feed(body, pipe));
        }
        Ok(daemon)
    }
}

/// Ends with the body, or with the program, whose end breaks the pipe. A body that is cut short fails at
/// the consumer.
fn feed(mut body: Take<File>, mut pipe: ChildStdin) -> io::Result<()> {
    let mut block = vec![0; PIPED_BYTES];
    loop {
        match body.read(&mut block)? {
            0 => return Ok(()),
            count => pipe.write_all(&block[..count])?,
        }
    }
}
