//! Programs from other projects (curl, Python, Node) as clients: runs one within a time limit, and
//! keeps its output for the report of a failing test.

use super::until;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

/// A running program.
pub struct Running {
    child: Child,
    command: String,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
    command: String,
}

impl Finished {
    /// Fails with the program's output unless its exit code is 0.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        self.exited(0)
    }

    /// Fails with the program's output unless its exit code is `code`.
    #[track_caller]
    pub fn exited(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}\n--- stdout:\n{}\n--- stderr:\n{}",
            self.command,
            self.stdout.escape_ascii(),
            self.stderr
        );
        self
    }
}

/// curl, which prints errors only.
pub fn curl<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--noproxy", "*"])
        .args(arguments);
    command
}

impl Running {
    /// Starts `command` with pipes for its standard streams.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let program = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("{program} is not installed; ci/check installs it")
            }
            Err(error) => panic!("{program} does not start: {error}"),
        };
        let stdout = child.stdout.take().map(keep);
        let stderr = child.stderr.take().map(keep);
        Self {
            child,
            command: format!("{command:?}"),
            stdout,
            stderr,
        }
    }

    /// The program's standard input; dropping it closes it.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child
            .stdin
            .take()
            .expect("standard input is taken once")
    }

    /// Waits until the program ends.
    #[track_caller]
    pub fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let status = until(&self.command, || {
            self.child.try_wait().expect("it is our child")
        });
        let said = |reader: &mut Option<JoinHandle<Vec<u8>>>| {
            let reader = reader.take().expect("read once");
            reader.join().expect("no reader panicked")
        };
        Finished {
            status,
            stdout: said(&mut self.stdout),
            stderr: String::from_utf8_lossy(&said(&mut self.stderr)).into_owned(),
            command: self.command.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // No effect on a program that has ended; otherwise the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end.
#[track_caller]
pub fn run(command: Command) -> Finished {
    Running::start(command).finish()
}

/// Runs `command` to its end, with `input` as its standard input.
#[track_caller]
pub fn run_with_input(command: Command, input: &[u8]) -> Finished {
    let mut running = Running::start(command);
    let mut stdin = running.stdin();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads its input"));
    });
    running.finish()
}

fn keep(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said).expect("a pipe of our child");
        said
    })
}
