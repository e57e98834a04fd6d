//! A headless Chromium with one tab, driven by the DevTools protocol over two pipes: JSON messages,
//! each ended by a NUL (`--remote-debugging-pipe`). Must never leave a process behind.

use super::{FAILURE_BOUND, within_bound};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

const PROGRAM: &str = "chromium";

/// The most time for an answer. Until the first, Chromium starts half a dozen processes.
const ANSWER_BOUND: Duration = FAILURE_BOUND.saturating_mul(6);

pub struct Chromium {
    child: Child,
    /// `None` once it was told to close.
    commands: Option<ChildStdin>,
    messages: Receiver<Value>,
    calls: u64,
    /// The session of the tab.
    session: Option<String>,
    /// Removed after the process has ended.
    _profile: TempDir,
}

impl Chromium {
    /// Starts Chromium with an empty profile and opens a tab; `None` if it is not installed.
    pub fn start() -> Option<Self> {
        match Command::new(PROGRAM).arg("--version").output() {
            Ok(said) if said.status.success() => {}
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{PROGRAM}: {error}"),
            _ => return None,
        }
        let profile = TempDir::new().expect("a folder");
        // The shell becomes Chromium. It receives the pipes as its standard streams, which a child can
        // inherit without a hand-written fork.
        let script = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", PROGRAM]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        // Its own sandbox needs privileges that containers lack, and all pages are ours.
        command.args(["--headless", "--no-sandbox", "--remote-debugging-pipe"]);
        command.args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--no-proxy-server", "about:blank"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell");
        let commands = child.stdin.take();
        let messages = read(child.stdout.take().expect("piped"));
        let mut chromium = Self {
            child,
            commands,
            messages,
            calls: 0,
            session: None,
            _profile: profile,
        };
        chromium.open_tab();
        Some(chromium)
    }

    fn open_tab(&mut self) {
        let tab = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", attach);
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        assert!(self.session.is_some(), "{attached}");
    }

    /// Goes to `url` as if a person had typed it, and returns when the page's head is there.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(opened["errorText"], Value::Null, "{url}");
    }

    /// Runs `script` in the page, and returns the value of the promise that it makes.
    #[track_caller]
    pub fn run(&mut self, script: &str) -> Value {
        let run = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let mut done = self.call("Runtime.evaluate", run);
        assert_eq!(done["exceptionDetails"], Value::Null, "{script}");
        done["result"]["value"].take()
    }

    /// Clicks where all of the test's pages have their link, as a person does.
    pub fn click(&mut self) {
        for kind in ["mousePressed", "mouseReleased"] {
            self.call(
                "Input.dispatchMouseEvent",
                json!({"type": kind, "x": 50, "y": 50, "button": "left", "clickCount": 1}),
            );
        }
    }

    /// The result of a command.
    #[track_caller]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let pipe = self.commands.as_mut().expect("open until the drop");
        let sent = pipe.write_all(format!("{message}\0").as_bytes());
        sent.unwrap_or_else(|error| panic!("Chromium ended: {error}"));
        loop {
            let Ok(mut answer) = self.messages.recv_timeout(ANSWER_BOUND) else {
                panic!("Chromium does not answer {message}");
            };
            if answer["id"] == self.calls {
                assert_eq!(answer["error"], Value::Null, "{message}");
                return answer["result"].take();
            }
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It ends when its pipe does, with all of its processes.
        drop(self.commands.take());
        let child = &mut self.child;
        let ended = within_bound(|| child.try_wait().expect("it is our child"));
        if ended.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What Chromium says, message by message, until it ends.
fn read(pipe: ChildStdout) -> Receiver<Value> {
    let (said, messages) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(pipe).split(0) {
            let Ok(message) = message else { return };
            let message = serde_json::from_slice(&message).expect("JSON");
            if said.send(message).is_err() {
                return;
            }
        }
    });
    messages
}
