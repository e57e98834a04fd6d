//! The files installed beside the executable (the manual page, shell completions, settings for
//! systemd), each read by the program that uses it; and the content of the crate. ci/deb and
//! ci/image test the Debian package and the image.

use crate::support::program::{Finished, run};
use crate::support::server::{Server, executable};
use std::collections::BTreeSet;
use std::fs::{copy, create_dir, read_to_string};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use tempfile::TempDir;

/// The folder that `cargo run --example manual` writes, once for all tests.
static MANUAL: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut cargo = cargo(&["run", "--quiet", "--locked", "--example", "manual", "--"]);
    // Without the time limit of `run`: cargo may have to compile the example.
    let output = cargo.arg(folder.path()).output().expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    folder
});

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments);
    command
}

fn manual(file: &str) -> PathBuf {
    MANUAL.path().join(file)
}

/// Runs a command with `file` of the manual as its last argument.
#[track_caller]
fn run_on(program: &str, arguments: &[&str], file: &str) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments).arg(manual(file));
    run(command).succeeded()
}

#[track_caller]
fn text(finished: &Finished) -> String {
    String::from_utf8(finished.stdout.clone()).expect("text")
}

/// Every option in the help, and every variable.
fn options_and_variables() -> (BTreeSet<String>, BTreeSet<String>) {
    let mut help = executable();
    help.arg("--help");
    let help = text(&run(help).succeeded());
    let options = help.lines().filter_map(|line| {
        let line = line.trim_start();
        // `-p, --port <PORT>` or `--host <ADDRESS>`; the texts also mention options.
        let named = line
            .get(4..)
            .filter(|_| line.as_bytes().get(2) == Some(&b','));
        let option = named.unwrap_or(line).split_whitespace().next()?;
        let name = option.strip_prefix("--")?;
        let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        is_name.then(|| option.to_owned())
    });
    let variables = help.split("[env: ").skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('=')?;
        Some(name.to_owned())
    });
    let both: (BTreeSet<_>, BTreeSet<_>) = (options.collect(), variables.collect());
    assert!(both.0.len() > 12 && both.1.len() > 10, "{both:?}");
    both
}

/// The manual page for a terminal without bold or underlined letters.
fn page() -> String {
    let arguments = [
        "-man",
        "-Tascii",
        "-P-c",
        "-P-b",
        "-P-u",
        "-rHY=0",
        "-rLL=200n",
    ];
    text(&run_on("groff", &arguments, "httpipe.1"))
}

#[test]
fn the_manual_page_is_formatted_without_a_warning() {
    for (program, arguments) in [
        ("groff", &["-man", "-Tutf8", "-ww"][..]),
        ("man", &["--warnings=all", "--local-file"]),
    ] {
        let shown = run_on(program, arguments, "httpipe.1");
        assert_eq!(shown.stderr, "", "{program}");
    }
}

#[test]
fn the_manual_page_names_every_option_and_its_variable() {
    let page = page();
    let words: BTreeSet<_> = page
        .split(|c: char| c.is_whitespace() || ",[]|()".contains(c))
        .collect();
    let (options, variables) = options_and_variables();
    for name in options.iter().chain(&variables) {
        assert!(words.contains(name.as_str()), "{name} is missing:\n{page}");
    }
    assert!(words.contains("RUST_LOG"), "{page}");
}

#[test]
fn the_manual_page_has_the_usual_sections() {
    let page = page();
    let headings: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .collect();
    let expected = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "ENVIRONMENT",
        "SIGNALS",
        "EXIT STATUS",
        "FILES",
        "EXAMPLES",
        "NOTES",
        "SEE ALSO",
    ];
    assert_eq!(headings, expected, "{page}");
    let version = concat!("httpipe ", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(version) && !page.contains('`'), "{page}");
}

#[test]
fn bash_completes_every_option() {
    // As readline does: calls the function that `complete` registered, with the words of the line.
    let script = "source \"$1\"
        [[ $(complete -p httpipe) =~ -F\\ ([^ ]+) ]] || exit 3
        COMP_WORDS=(httpipe \"$2\") COMP_CWORD=1
        \"${BASH_REMATCH[1]}\" httpipe \"$2\" httpipe
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let file = manual("httpipe.bash");
    let complete = |typed: &str| {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", script, "bash"]).arg(&file);
        bash.arg(typed);
        text(&run(bash).succeeded())
    };
    check_offered(&complete("--"));
    assert_eq!(complete("--request"), "--request-timeout\n");
    assert_eq!(complete("-p"), "-p\n");
}

#[test]
fn fish_completes_every_option() {
    let file = manual("httpipe.fish");
    let complete = |typed: &str| {
        let mut fish = Command::new("fish");
        fish.args([
            "--no-config",
            "--command",
            "source $argv[1]; complete --do-complete $argv[2]",
        ]);
        fish.arg(&file).arg(format!("httpipe {typed}"));
        text(&run(fish).succeeded())
    };
    check_offered(&complete("--"));
    assert!(complete("--request").starts_with("--request-timeout\t"));
}

/// Fails unless the lines begin with every option and no other.
#[track_caller]
fn check_offered(lines: &str) {
    let offered: BTreeSet<_> = lines
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let (options, _) = options_and_variables();
    assert_eq!(offered, options, "{lines}");
}

#[test]
fn zsh_finds_the_completions_and_loads_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let functions = folder.path().join("functions");
    create_dir(&functions).expect("a folder in it");
    copy(manual("_httpipe"), functions.join("_httpipe")).expect("a copy");
    let script = "fpath=(\"$1\" $fpath); autoload -Uz compinit; compinit -u -D
        print -r -- ${_comps[httpipe]}; autoload +X _httpipe; print -r -- ${functions[_httpipe]}";
    let mut zsh = Command::new("zsh");
    zsh.args(["--no-rcs", "-c", script, "zsh"]).arg(&functions);
    let finished = run(zsh).succeeded();
    let said = text(&finished);
    assert_eq!(finished.stderr, "");
    assert!(said.starts_with("_httpipe\n"), "{said}");
    let (options, _) = options_and_variables();
    for option in &options {
        // An option that may be repeated has a star.
        let described = ["'", "'*"].map(|quote| said.contains(&format!("{quote}{option}")));
        assert!(described.contains(&true), "{option}:\n{said}");
    }
}

#[test]
fn the_settings_have_a_line_for_every_variable_and_their_defaults_are_accepted() {
    let settings = read_to_string(manual("httpipe.default")).expect("it was written");
    let lines = settings.lines().map(|line| line.trim_start_matches('#'));
    let values: Vec<_> = lines
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.contains(' '))
        .collect();
    let (_, variables) = options_and_variables();
    for variable in variables.iter().map(String::as_str).chain(["RUST_LOG"]) {
        let times = values.iter().filter(|(name, _)| *name == variable).count();
        assert!(times > 0, "{variable} is missing:\n{settings}");
    }
    // A value in capitals is a placeholder; the default port may be in use here.
    let defaults: Vec<_> = values
        .into_iter()
        .filter(|(name, value)| *name != "PORT" && !value.contains(char::is_uppercase))
        .collect();
    let server = Server::start_with(&["--port", "0"], &defaults);
    assert_eq!(server.ask("GET", "/healthz").status, 200);
}

#[test]
fn the_installed_settings_listen_on_this_machine_only() {
    let settings = read_to_string(manual("httpipe.default")).expect("it was written");
    let set: Vec<_> = settings
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(set, ["HOST=127.0.0.1"]);
}

#[test]
fn the_crate_ships_what_builds_and_tests_it_and_nothing_else() {
    let listing = run(cargo(&["package", "--locked", "--list", "--allow-dirty"])).succeeded();
    let listing = text(&listing);
    let files: BTreeSet<_> = listing.lines().collect();
    for file in [
        "Cargo.lock",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "src/main.rs",
        "tests/main.rs",
        "benches/load/main.rs",
        "deploy/manual/sections.man",
        "deploy/debian/postinst",
    ] {
        assert!(files.contains(file), "{file} is missing:\n{listing}");
    }
    for folder in ["fuzz/", ".ci/", "ci/", "target/"] {
        let inside = files.iter().find(|file| file.starts_with(folder));
        assert_eq!(inside, None);
    }
}
