//! The settings file of the systemd unit, `/etc/default/httpipe`: every option that has a variable,
//! with its help and its default, commented out.

use clap::{Arg, Command};

/// Maximum columns of a comment line.
const WIDTH: usize = 90;

const HEAD: &str = "\
# Settings of httpipe's systemd unit, one VARIABLE=VALUE per line. After a change:
#   systemctl restart httpipe
# See httpipe(1). A line that begins with # shows a default, or how to write a value.
";

/// The variables that the installed file sets: variable, value, why. A newly installed server must not
/// be reachable from other machines before the administrator has read the file.
const SET: [(&str, &str, &str); 1] = [(
    "HOST",
    "127.0.0.1",
    "As installed, only this machine can reach the server, because anyone who can reach the port can \
     send, receive, delete and list. Put a proxy that authenticates users in front, or open the \
     server to everybody:",
)];

/// The whole file, for the options of `command`.
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
        "Level of the log: error, warn, info, debug or trace",
    ));
    text.push_str("#RUST_LOG=info\n");
    text
}

/// The help of `argument`, and the line that sets its variable.
fn setting(argument: &Arg, name: &str) -> String {
    let mut text = String::new();
    if let Some(help) = argument.get_help() {
        text.push_str(&comment(&help.to_string()));
    }
    let default = argument
        .get_default_values()
        .first()
        .map(|value| value.to_string_lossy().into_owned());
    // Without a default, the value's name shows what to write; a flag has no value name.
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
