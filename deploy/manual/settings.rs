//! The file of settings that the systemd unit reads, `/etc/default/httpipe`: every option that has a
//! variable, with what it does and its default, to be uncommented.

use clap::{Arg, Command};

/// Columns of a comment.
const WIDTH: usize = 90;

const HEAD: &str = "\
# Settings of httpipe's systemd unit, one VARIABLE=VALUE a line, read when it starts:
#   systemctl restart httpipe
# See httpipe(1). A line that begins with # says a default, or shows how a value is written.
";

/// What is set in the file, because it has to hold before anybody has read it: nothing but this
/// machine reaches a server that was only just installed.
const SET: [(&str, &str, &str); 1] = [(
    "HOST",
    "127.0.0.1",
    "Set here to this machine alone, because whoever reaches the port can send, receive, delete and \
     list. Put a proxy that knows your users in front, or open it to everybody:",
)];

/// The text of the file for the options of `command`.
pub fn render(command: &Command) -> String {
    let mut text = HEAD.to_owned();
    for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
        if let Some(name) = argument.get_env() {
            text.push('\n');
            text.push_str(&setting(argument, &name.to_string_lossy()));
        }
    }
    text.push('\n');
    text.push_str(&comment(
        "What is logged: error, warn, info, debug or trace",
    ));
    text.push_str("#RUST_LOG=info\n");
    text
}

/// What `argument` does, and the line that sets its variable.
fn setting(argument: &Arg, name: &str) -> String {
    let mut text = String::new();
    if let Some(help) = argument.get_help() {
        text.push_str(&comment(&help.to_string()));
    }
    let default = argument
        .get_default_values()
        .first()
        .map(|value| value.to_string_lossy().into_owned());
    // Without a default, the name of the value shows what to write; a flag has none.
    let value = default.unwrap_or_else(|| {
        let names = argument.get_value_names().unwrap_or_default();
        let name = names
            .first()
            .filter(|_| argument.get_action().takes_values());
        name.map_or_else(|| "true".to_owned(), ToString::to_string)
    });
    match SET.iter().find(|(set, _, _)| *set == name) {
        Some((_, here, why)) => {
            text.push_str(&comment(why));
            text.push_str(&format!("#{name}={value}\n{name}={here}\n"));
        }
        None => text.push_str(&format!("#{name}={value}\n")),
    }
    text
}

/// `text` as comment lines of at most [`WIDTH`] columns.
fn comment(text: &str) -> String {
    let mut lines = vec!["#".to_owned()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if line.len() + 1 + word.len() > WIDTH {
            lines.push(format!("# {word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}
