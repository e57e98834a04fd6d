//! The structure of the source tree: which file may import which, what may be in one place only,
//! and the maximum length of files and functions. Reads the sources as text and runs nothing.
//!
//! A check is a pure function from sources to findings, one line each. Here it checks the real
//! tree; in `planted` it must find the mistakes in small trees.

mod imports;
mod planted;
mod source;

use self::imports::{LIBRARY, circles, imports};
use self::source::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// The folders of `src/` (and files beside them) in the order of layers. Each imports only from
/// itself and from rows below its own; folders in one row do not import each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["lib"],
    &["server"],
    &["worker"],
    &["handle"],
    &["exchange", "topic"],
    &["shard"],
    &["conn"],
    &["observe"],
    &["model", "config"],
    &["http", "io"],
    &["limits"],
];

/// Forbidden imports, from the first to the second, that the order of layers would allow.
const APART: &[(&str, &str)] = &[("model", "io")];

/// Crates that only `src/io/` may name.
const SYSTEM_CRATES: &[&str] = &["io_uring", "libc", "mio", "monoio", "rustix"];

/// Modules of these crates that are not I/O and that a file outside `io/` may name: file, module,
/// why.
const SYSTEM_ELSEWHERE: &[(&str, &str, &str)] = &[];

/// The only files that may have `unsafe`.
const UNSAFE: &[&str] = &["src/io/sys.rs", "benches/load/system/sys.rs"];

/// For a file in `src/`, without its test module.
const FILE_LINES_MAX: usize = 450;
/// For a function in `src/` and `benches/`, from `fn` to the closing brace.
const FUNCTION_LINES_MAX: usize = 60;

/// The module of the library that only tests, fuzzers and benches use.
const TESTING: &str = "testing";

/// The reason why the real tree does not pass a check yet; `None` enables the check. The test of a
/// disabled check fails as soon as the tree passes it.
type NotYet = Option<&'static str>;

const LAYERS_NOT_YET: NotYet = None;
const CIRCLES_NOT_YET: NotYet = None;
const LOAD_CIRCLES_NOT_YET: NotYet = None;
const SYSTEM_CRATES_NOT_YET: NotYet = None;
const UNSAFE_NOT_YET: NotYet = None;
const FILE_LINES_NOT_YET: NotYet = None;
const FUNCTION_LINES_NOT_YET: NotYet = None;
const EXPORTS_NOT_YET: NotYet = None;

#[test]
fn every_import_goes_to_the_same_folder_or_to_one_further_down() {
    judge(LAYERS_NOT_YET, &upward_imports(real_tree()));
}

#[test]
fn no_files_of_the_server_import_each_other_in_a_circle() {
    judge(CIRCLES_NOT_YET, &circles(&imports(real_tree(), "src")));
}

#[test]
fn no_files_of_the_load_harness_import_each_other_in_a_circle() {
    judge(
        LOAD_CIRCLES_NOT_YET,
        &circles(&imports(real_tree(), "benches/load")),
    );
}

#[test]
fn only_io_names_the_crates_of_the_runtime_and_the_system() {
    judge(
        SYSTEM_CRATES_NOT_YET,
        &system_crates_outside_io(real_tree(), SYSTEM_ELSEWHERE),
    );
}

#[test]
fn only_one_file_of_the_server_and_one_of_the_load_harness_have_unsafe() {
    judge(UNSAFE_NOT_YET, &unsafe_elsewhere(real_tree()));
}

#[test]
fn no_file_is_too_long() {
    judge(FILE_LINES_NOT_YET, &long_files(real_tree()));
}

#[test]
fn every_function_fits_on_a_screen() {
    judge(FUNCTION_LINES_NOT_YET, &long_functions(real_tree()));
}

#[test]
fn the_library_exports_what_main_uses_and_one_hidden_module() {
    judge(EXPORTS_NOT_YET, &needless_exports(real_tree()));
}

#[track_caller]
fn judge(not_yet: NotYet, findings: &[String]) {
    let (count, list) = (findings.len(), findings.join("\n"));
    match not_yet {
        None => assert!(findings.is_empty(), "{count} findings:\n{list}"),
        Some(_) if findings.is_empty() => {
            panic!("the tree passes this check now: switch it on with None")
        }
        Some(reason) => println!("{reason}: {count} findings\n{list}"),
    }
}

/// All Rust files of the repository, in the order of their paths.
fn real_tree() -> &'static [Source] {
    static TREE: OnceLock<Vec<Source>> = OnceLock::new();
    TREE.get_or_init(read_tree)
}

fn read_tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in ["benches", "deploy", "fuzz", "src", "tests"] {
        // A package from the registry lacks some of them.
        if root.join(folder).is_dir() {
            read_folder(root, folder, &mut sources);
        }
    }
    for path in ["src/lib.rs", "src/main.rs", "benches/load/main.rs"] {
        assert!(sources.iter().any(|source| source.path == path), "{path}");
    }
    sources
}

fn read_folder(root: &Path, folder: &str, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(root.join(folder)).expect("a readable folder");
    let names = BTreeSet::from_iter(entries.map(|entry| {
        let name = entry.expect("a readable folder").file_name();
        name.into_string().expect("a name in UTF-8")
    }));
    for name in names {
        let path = format!("{folder}/{name}");
        if root.join(&path).is_dir() {
            if name != "target" {
                read_folder(root, &path, sources);
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(root.join(&path)).expect("a readable file");
            sources.push(Source::new(&path, &text));
        }
    }
}

/// Imports in `src/` that the order of layers forbids, and files that are in no layer.
fn upward_imports(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        if source.path.starts_with("src/") && layer(&source.path).is_none() {
            findings.push(format!("{}: not in LAYERS", source.path));
        }
    }
    for import in imports(sources, "src") {
        let (Some((from, from_row)), Some((to, to_row))) = (layer(import.from), layer(import.to))
        else {
            continue;
        };
        if from != to && (from_row >= to_row || APART.contains(&(from, to))) {
            let (path, line, target) = (import.from, import.line, import.to);
            findings.push(format!("{path}:{line}: {from} imports {to}, from {target}"));
        }
    }
    findings
}

/// The folder in `src/` that contains a file, or the file's own name, and its row in [`LAYERS`].
fn layer(path: &str) -> Option<(&str, usize)> {
    let path = path.strip_prefix("src/")?;
    let folder = path.split('/').next()?;
    let folder = folder.strip_suffix(".rs").unwrap_or(folder);
    let row = LAYERS.iter().position(|row| row.contains(&folder))?;
    Some((folder, row))
}

/// System crates named in `src/` outside `io/`, once per file and module; and entries of `allowed`
/// that are not needed.
fn system_crates_outside_io(sources: &[Source], allowed: &[(&str, &str, &str)]) -> Vec<String> {
    let mut named = BTreeMap::new();
    for source in sources {
        if !source.path.starts_with("src/") || source.path.starts_with("src/io/") {
            continue;
        }
        for name in &source.names {
            if SYSTEM_CRATES.contains(&&*name.segments[0]) {
                let module = name.segments[..name.segments.len().min(2)].join("::");
                named.entry((&*source.path, module)).or_insert(name.line);
            }
        }
    }
    let mut findings = Vec::new();
    for &(path, module, _) in allowed {
        if named.remove(&(path, module.to_owned())).is_none() {
            findings.push(format!("{path}: may name {module} and does not"));
        }
    }
    for ((path, module), line) in named {
        findings.push(format!("{path}:{line}: names {module}"));
    }
    findings
}

/// `unsafe` outside the files that may have it.
fn unsafe_elsewhere(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        if !UNSAFE.contains(&&*source.path) {
            let path = &source.path;
            findings.extend(
                source
                    .unsafe_lines
                    .iter()
                    .map(|line| format!("{path}:{line}: unsafe")),
            );
        }
    }
    findings
}

fn long_files(sources: &[Source]) -> Vec<String> {
    let too_long =
        |source: &&Source| source.path.starts_with("src/") && source.lines > FILE_LINES_MAX;
    let finding = |source: &Source| format!("{}: {} lines", source.path, source.lines);
    sources.iter().filter(too_long).map(finding).collect()
}

fn long_functions(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        if !source.path.starts_with("src/") && !source.path.starts_with("benches/") {
            continue;
        }
        for function in &source.functions {
            if function.lines > FUNCTION_LINES_MAX {
                let (line, name, lines) = (function.line, &function.name, function.lines);
                findings.push(format!("{}:{line}: {name} has {lines} lines", source.path));
            }
        }
    }
    findings
}

/// Exports of `lib.rs` other than the hidden module [`TESTING`] and what `main.rs` names.
fn needless_exports(sources: &[Source]) -> Vec<String> {
    let find = |path| sources.iter().find(|source| source.path == path);
    let main = find("src/main.rs").map_or(&[][..], |main| &main.names);
    let used = BTreeSet::from_iter(
        (main.iter().filter(|name| name.segments[0] == LIBRARY))
            .filter_map(|name| name.segments.get(1)),
    );
    let mut findings = Vec::new();
    for export in find("src/lib.rs").map_or(&[][..], |library| &library.exports) {
        let fits = match &*export.name {
            TESTING => export.hidden,
            name => used.iter().any(|used| *used == name),
        };
        if !fits {
            let (line, name) = (export.line, &export.name);
            findings.push(format!("src/lib.rs:{line}: exports {name}"));
        }
    }
    findings
}
