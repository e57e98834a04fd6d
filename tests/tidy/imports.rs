//! Imports: the paths in a folder's files, resolved to files of the same folder.
//!
//! A file imports another one if it names something in it, in a `use` or by a path. `mod child;`
//! is no import. A name that a `mod.rs` re-exports with `pub use` belongs to that `mod.rs`.

use super::source::{Name, Source};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The library's name, by which `main.rs` knows it.
pub const LIBRARY: &str = "httpipe";

/// In `line`, the file `from` names something that is in the file `to`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Import<'a> {
    pub from: &'a str,
    pub line: usize,
    pub to: &'a str,
}

/// A module's path from the root of the crate, or that of an item.
type Module = Vec<String>;

/// The modules that are files.
type Modules<'a> = BTreeMap<Module, &'a Source>;

/// All imports among the files under `root`, the folder of a crate.
pub fn imports<'a>(sources: &'a [Source], root: &str) -> Vec<Import<'a>> {
    let mut files = Vec::new();
    for source in sources {
        let path = source.path.strip_prefix(root);
        files.extend(path.and_then(|path| Some((path.strip_prefix('/')?, source))));
    }
    let has_library = files.iter().any(|&(path, _)| path == "lib.rs");
    let modules = BTreeMap::from_iter(
        (files.into_iter()).map(|(path, source)| (module(path, has_library), source)),
    );
    (modules.iter())
        .flat_map(|(module, source)| imports_of(source, module, &modules))
        .collect()
}

/// The module of a file. No file can import the `main.rs` beside a `lib.rs`.
fn module(path: &str, has_library: bool) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    if path == "lib" || (path == "main" && !has_library) {
        return Vec::new();
    }
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

fn imports_of<'a>(
    source: &'a Source,
    module: &[String],
    modules: &Modules<'a>,
) -> BTreeSet<Import<'a>> {
    let bound = BTreeMap::from_iter(
        (source.names.iter()).filter_map(|name| Some((name.binds.as_deref()?, name))),
    );
    let mut found = BTreeSet::new();
    for name in &source.names {
        let Some(target) = resolve(name, module, &bound, modules) else {
            continue;
        };
        if let Some(to) = file_of(&target, modules)
            && to.path != source.path
        {
            let (from, line, to) = (&*source.path, name.line, &*to.path);
            found.insert(Import { from, line, to });
        }
    }
    found
}

/// The path from the root of the crate; `None` if it leads to another crate, or to something
/// defined in the same file. `module` is the file's module, `bound` its `use`s by the names that
/// they bring into scope, in any scope.
fn resolve(
    name: &Name,
    module: &[String],
    bound: &BTreeMap<&str, &Name>,
    modules: &Modules,
) -> Option<Module> {
    let mut within = &name.within;
    let mut segments = name.segments.clone();
    // Each round replaces the first segment by what it was imported as. Real code needs one or two
    // rounds.
    for _ in 0..8 {
        let first = &*segments[0];
        // An imported module with that name hides the crate.
        if first == "crate" || first == LIBRARY && !bound.contains_key(LIBRARY) {
            return Some(segments.split_off(1));
        }
        let around = [module, within].concat();
        let own = usize::from(first == "self");
        let after_own = segments[own..].iter();
        let ups = after_own.take_while(|&word| word == "super").count();
        if own + ups > 0 {
            let above = around.len().checked_sub(ups)?;
            return Some([&around[..above], &segments[own + ups..]].concat());
        }
        if modules.contains_key(&[&around, &segments[..1]].concat()) {
            return Some([around, segments].concat());
        }
        let import = bound.get(first)?;
        if import.segments[0] == first {
            return None; // For example `rand` after `use rand::rand`: another crate.
        }
        within = &import.within;
        segments = [&import.segments, &segments[1..]].concat();
    }
    None
}

/// The file of the path, which is a module or ends with names of items.
fn file_of<'a>(path: &[String], modules: &Modules<'a>) -> Option<&'a Source> {
    (0..=path.len())
        .rev()
        .find_map(|end| modules.get(&path[..end]).copied())
}

/// Circles of imports: the shortest one through each file on a circle, with the lines of the
/// imports.
pub fn circles(imports: &[Import]) -> Vec<String> {
    let mut graph: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for import in imports {
        let targets = graph.entry(import.from).or_default();
        targets.entry(import.to).or_insert(import.line);
    }
    let circles: BTreeSet<Vec<&str>> = graph
        .keys()
        .filter_map(|file| {
            let mut circle = way_back(file, &graph)?;
            let first = (0..circle.len()).min_by_key(|&at| circle[at]);
            circle.rotate_left(first.unwrap_or(0));
            Some(circle)
        })
        .collect();
    let with_lines = |circle: &Vec<&str>| {
        let mut text = String::new();
        for (at, file) in circle.iter().enumerate() {
            let next = circle[(at + 1) % circle.len()];
            text += &format!("{file}:{} → ", graph[file][next]);
        }
        text + circle[0]
    };
    circles.iter().map(with_lines).collect()
}

/// The files of the shortest circle through `start`, beginning with it.
fn way_back<'a>(
    start: &'a str,
    graph: &BTreeMap<&'a str, BTreeMap<&'a str, usize>>,
) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for &next in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut way = vec![file];
                while let Some(&before) = came_from.get(way[way.len() - 1]) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}
