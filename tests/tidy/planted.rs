//! Small trees that each break a rule: each check finds the mistake, and nothing else.

use super::imports::{circles, imports};
use super::source::Source;
use super::{
    FILE_LINES_MAX, FUNCTION_LINES_MAX, judge, long_files, long_functions, needless_exports,
    system_crates_outside_io, unsafe_elsewhere, upward_imports,
};

fn tree(files: &[(&str, &str)]) -> Vec<Source> {
    let source = |&(path, text): &(&str, &str)| Source::new(path, text);
    files.iter().map(source).collect()
}

#[track_caller]
fn assert_upward(files: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(upward_imports(&tree(files)), expected);
}

#[track_caller]
fn assert_circles(files: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(circles(&imports(&tree(files), "src")), expected);
}

/// The findings for one file `src/conn/mod.rs`; `shard` is above it and `limits` below.
#[track_caller]
fn assert_upward_from_conn(text: &str, expected: &[&str]) {
    let files = [
        ("src/conn/mod.rs", text),
        ("src/limits.rs", ""),
        ("src/shard/mesh.rs", ""),
        ("src/shard/mod.rs", ""),
    ];
    assert_upward(&files, expected);
}

const MESH_IN_LINE_1: &str = "src/conn/mod.rs:1: conn imports shard, from src/shard/mesh.rs";
const MESH_IN_LINE_2: &str = "src/conn/mod.rs:2: conn imports shard, from src/shard/mesh.rs";
const SHARD_IN_LINE_1: &str = "src/conn/mod.rs:1: conn imports shard, from src/shard/mod.rs";

#[test]
#[should_panic(expected = "1 findings:\nsrc/a.rs")]
fn a_check_that_is_on_fails_with_a_finding() {
    judge(None, &["src/a.rs".to_owned()]);
}

#[test]
#[should_panic(expected = "switch it on")]
fn a_check_that_is_off_fails_without_a_finding() {
    judge(Some("why"), &[]);
}

#[test]
fn an_import_of_a_higher_folder_is_found_and_one_of_a_lower_folder_is_not() {
    assert_upward_from_conn("use crate::shard::Shard;", &[SHARD_IN_LINE_1]);
    assert_upward_from_conn("use crate::limits::HEAD_BYTES_MAX;", &[]);
}

#[test]
fn a_use_in_any_form_is_an_import() {
    for form in [
        "use crate::shard::mesh::Mesh;",
        "use crate::shard::mesh;",
        "use crate::shard::mesh::*;",
        "use crate::shard::mesh as net;",
        "use crate::shard::mesh::Mesh as _;",
        "use crate::shard::mesh::{self};",
        "use crate::{limits, shard::{mesh::{Mesh, Message},},};",
        "use super::shard::mesh::Mesh;",
        "use self::super::shard::mesh::Mesh;",
        "pub use crate::shard::mesh::Mesh;",
        "pub(crate) use crate::shard::mesh::Mesh;",
        "pub(in crate::conn) use crate::shard::mesh::Mesh;",
        "fn open() { use crate::shard::mesh::Mesh; }",
        "mod inner { use super::super::shard::mesh::Mesh; }",
        "#[cfg(test)] use crate::shard::mesh::Mesh;",
    ] {
        println!("{form}");
        assert_upward_from_conn(form, &[MESH_IN_LINE_1]);
    }
}

#[test]
fn each_name_in_nested_braces_is_an_import_with_its_own_line() {
    let text = "use crate::{\nshard::{\nShard,\nmesh::Mesh,\n},\nlimits,\n};";
    assert_upward_from_conn(
        text,
        &[
            "src/conn/mod.rs:3: conn imports shard, from src/shard/mod.rs",
            "src/conn/mod.rs:4: conn imports shard, from src/shard/mesh.rs",
        ],
    );
}

#[test]
fn a_path_anywhere_in_the_code_is_an_import() {
    for form in [
        "fn open(mesh: &crate::shard::mesh::Mesh) {}",
        "fn open() { crate::shard::mesh::open::<u8>(); }",
        "fn open() { println!(\"{}\", crate::shard::mesh::SIZE); }",
        "impl Drop for super::shard::mesh::Mesh {}",
        "macro_rules! open { () => { $crate::shard::mesh::open() } }",
    ] {
        println!("{form}");
        assert_upward_from_conn(form, &[MESH_IN_LINE_1]);
    }
}

#[test]
fn a_path_that_begins_with_an_imported_name_is_resolved_through_that_name() {
    let text = "use crate::shard;\nfn open() { shard::mesh::open(); }";
    assert_upward_from_conn(text, &[SHARD_IN_LINE_1, MESH_IN_LINE_2]);
    let text = "use crate::shard as above;\nuse above::mesh;";
    assert_upward_from_conn(text, &[SHARD_IN_LINE_1, MESH_IN_LINE_2]);
}

#[test]
fn text_that_is_not_code_of_the_server_imports_nothing() {
    for form in [
        "// use crate::shard::mesh::Mesh;",
        "/* use /* crate::shard::mesh::Mesh */; */",
        "/// As [`crate::shard::mesh::Mesh`].\nfn open() {}",
        "const TEXT: &str = \"use crate::shard::mesh::Mesh;\";",
        "const TEXT: &str = r#\"\"; use crate::shard::mesh::Mesh; \"#;",
        "const QUOTE: char = '\"'; // use crate::shard::mesh::Mesh; \"",
        "fn open<'a>(name: &'a str) -> impl Sized + use<'a> { name }",
        "pub(in super::conn) struct Conn;",
        "use std::shard::mesh; fn open() { mesh::open(); }",
        "mod shard; mod mesh;",
        "#[cfg(test)] mod tests { use crate::shard::mesh::Mesh; }",
        "#[cfg(test)] #[allow(dead_code)] mod tests { fn open() { crate::shard::mesh::open() } }",
    ] {
        println!("{form}");
        assert_upward_from_conn(form, &[]);
    }
}

#[test]
fn folders_in_one_row_and_folders_kept_apart_do_not_import_each_other() {
    assert_upward(
        &[
            ("src/config/mod.rs", "use crate::model::queue;"),
            ("src/exchange/mod.rs", "use crate::topic::Topic;"),
            ("src/http/head.rs", "use crate::{io::fd, limits};"),
            ("src/io/fd.rs", ""),
            ("src/limits.rs", ""),
            ("src/model/queue.rs", "use crate::{http::head, io::fd};"),
            ("src/topic/mod.rs", "use crate::config::Config;"),
        ],
        &[
            "src/config/mod.rs:1: config imports model, from src/model/queue.rs",
            "src/exchange/mod.rs:1: exchange imports topic, from src/topic/mod.rs",
            "src/http/head.rs:1: http imports io, from src/io/fd.rs",
            "src/model/queue.rs:1: model imports io, from src/io/fd.rs",
        ],
    );
}

#[test]
fn main_and_the_library_are_above_all_folders_and_no_file_imports_them() {
    assert_upward(
        &[
            ("src/lib.rs", "pub use server::run; mod server;"),
            ("src/main.rs", "fn main() { httpipe::run() }"),
            ("src/server/mod.rs", "use crate::VERSION;"),
        ],
        &["src/server/mod.rs:1: server imports lib, from src/lib.rs"],
    );
}

#[test]
fn a_file_that_belongs_to_no_layer_is_found() {
    assert_upward(
        &[("src/util/mod.rs", "")],
        &["src/util/mod.rs: not in LAYERS"],
    );
}

#[test]
fn a_circle_of_two_files_is_found() {
    assert_circles(
        &[
            ("src/io/a.rs", "\nuse super::b::B;"),
            ("src/io/b.rs", "use crate::io::a;"),
            ("src/io/c.rs", "use super::a;"),
        ],
        &["src/io/a.rs:2 → src/io/b.rs:1 → src/io/a.rs"],
    );
}

#[test]
fn a_circle_of_three_files_in_two_folders_is_found_once() {
    assert_circles(
        &[
            ("src/http/a.rs", "use crate::io::b::B;"),
            ("src/io/b.rs", "use crate::io::c::C;"),
            ("src/io/c.rs", "\n\nuse crate::http::a::A;"),
        ],
        &["src/http/a.rs:1 → src/io/b.rs:1 → src/io/c.rs:3 → src/http/a.rs"],
    );
}

#[test]
fn separate_circles_are_all_found() {
    assert_circles(
        &[
            ("src/io/a.rs", "use super::{b, c};"),
            ("src/io/b.rs", "use super::a;"),
            ("src/io/c.rs", "use super::a;"),
        ],
        &[
            "src/io/a.rs:1 → src/io/b.rs:1 → src/io/a.rs",
            "src/io/a.rs:1 → src/io/c.rs:1 → src/io/a.rs",
        ],
    );
}

#[test]
fn a_module_that_uses_its_child_and_is_used_by_it_is_a_circle() {
    for parent in [
        "mod child; pub use child::Child;",
        "mod child; use self::child::Child;",
        "mod child; fn open() { child::open() }",
    ] {
        println!("{parent}");
        assert_circles(
            &[
                ("src/handle/child.rs", "use super::Target;"),
                ("src/handle/mod.rs", parent),
            ],
            &["src/handle/child.rs:1 → src/handle/mod.rs:1 → src/handle/child.rs"],
        );
    }
}

#[test]
fn a_module_that_only_declares_its_children_may_be_used_by_them() {
    assert_circles(
        &[
            ("src/handle/child.rs", "use super::{Target, other::Other};"),
            (
                "src/handle/mod.rs",
                "mod child; mod other; pub struct Target;",
            ),
            ("src/handle/other.rs", "use super::Target;"),
            ("src/lib.rs", "mod handle; fn open() { handle::open() }"),
        ],
        &[],
    );
}

#[test]
fn a_circle_in_a_test_module_is_ignored() {
    assert_circles(
        &[
            ("src/io/a.rs", "use super::b;"),
            (
                "src/io/b.rs",
                "#[cfg(test)] mod tests { use super::super::a; use super::*; }",
            ),
        ],
        &[],
    );
}

#[test]
fn a_circle_through_the_main_file_of_a_program_is_found() {
    let files = tree(&[
        (
            "benches/load/main.rs",
            "mod row; type Result = (); fn main() { row::run() }",
        ),
        ("benches/load/row.rs", "use crate::Result;"),
    ]);
    assert_eq!(
        circles(&imports(&files, "benches/load")),
        ["benches/load/main.rs:1 → benches/load/row.rs:1 → benches/load/main.rs"]
    );
}

#[test]
fn a_system_crate_outside_io_is_found_once_for_each_module_of_it() {
    let files = tree(&[
        (
            "src/conn/mod.rs",
            "use rustix::{io::Errno, net::{recv, send}};\n\
             fn f() { monoio::spawn(g()); libc::close(0); ::mio::Poll::new(); rustix::net::bind(); }",
        ),
        ("src/io/fd.rs", "use monoio::net::TcpStream;"),
        (
            "src/limits.rs",
            "// rustix::pipe\n#[cfg(test)] mod tests { use libc::pipe; }",
        ),
        (
            "src/shard/mod.rs",
            "use monoio as runtime; use crate::conn::rustix::net;",
        ),
        ("tests/x.rs", "use rustix::net::recv;"),
    ]);
    assert_eq!(
        system_crates_outside_io(&files, &[]),
        [
            "src/conn/mod.rs:2: names libc::close",
            "src/conn/mod.rs:2: names mio::Poll",
            "src/conn/mod.rs:2: names monoio::spawn",
            "src/conn/mod.rs:1: names rustix::io",
            "src/conn/mod.rs:1: names rustix::net",
            "src/shard/mod.rs:1: names monoio",
        ]
    );
}

#[test]
fn an_allowed_module_of_a_system_crate_is_allowed_in_one_file_and_must_be_used() {
    let files = tree(&[(
        "src/observe/process.rs",
        "use rustix::{net, param::page_size};",
    )]);
    let allow = |module| [("src/observe/process.rs", module, "why")];
    assert_eq!(
        system_crates_outside_io(&files, &allow("rustix::param")),
        ["src/observe/process.rs:1: names rustix::net"]
    );
    assert_eq!(
        system_crates_outside_io(&files[..0], &allow("rustix::param")),
        ["src/observe/process.rs: may name rustix::param and does not"]
    );
}

#[test]
fn unsafe_is_found_in_every_file_but_two() {
    let text = "#![allow(unsafe_code)]\nfn f() { unsafe { g() } }";
    let files = tree(&[
        ("benches/load/system/sys.rs", text),
        ("src/io/sys.rs", text),
        ("src/io/pipe.rs", text),
        (
            "tests/x.rs",
            "#[cfg(test)] mod tests { unsafe impl Send for X {} }",
        ),
    ]);
    assert_eq!(
        unsafe_elsewhere(&files),
        [
            "src/io/pipe.rs:1: unsafe",
            "src/io/pipe.rs:2: unsafe",
            "tests/x.rs:1: unsafe",
        ]
    );
}

#[test]
fn unsafe_in_a_comment_or_a_string_is_ignored() {
    let text = "//! The only unsafe.\n\
        /* unsafe */ /// unsafe\n\
        fn f<'a>() { let _ = (\"unsafe\", r#\"\"unsafe\"\"#, b\"unsafe\", 'u', '\"'); } // \"unsafe";
    assert!(unsafe_elsewhere(&tree(&[("src/io/pipe.rs", text)])).is_empty());
}

#[test]
fn the_length_of_a_file_does_not_include_its_test_module() {
    let lines = |count| "fn f() {}\n".repeat(count);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(9));
    let longest = lines(FILE_LINES_MAX) + &tests;
    let too_long = lines(FILE_LINES_MAX + 1) + &tests;
    let files = tree(&[
        ("src/a.rs", &longest),
        ("src/b.rs", &too_long),
        ("tests/c.rs", &too_long),
    ]);
    assert_eq!(
        long_files(&files),
        [format!("src/b.rs: {} lines", FILE_LINES_MAX + 1)]
    );
}

#[test]
fn the_length_of_a_function_is_from_its_fn_to_its_closing_brace() {
    let function = |name: &str, lines: usize| {
        format!(
            "    fn {name}(f: fn(u8) -> [u8; 2])\n    {{\n{}    }}\n",
            "g();\n".repeat(lines - 3)
        )
    };
    let longest = function("longest", FUNCTION_LINES_MAX);
    let too_long = function("too_long", FUNCTION_LINES_MAX + 1);
    let text = format!(
        "impl X {{\n{longest}/// About it.\n#[inline]\n{too_long}}}\n\
         trait Y {{ fn without_body(); }}\n#[cfg(test)] mod tests {{ {too_long} }}"
    );
    let files = tree(&[
        ("benches/micro.rs", &text),
        ("src/a.rs", &text),
        ("tests/b.rs", &text),
    ]);
    let (line, lines) = (FUNCTION_LINES_MAX + 4, FUNCTION_LINES_MAX + 1);
    assert_eq!(
        long_functions(&files),
        ["benches/micro.rs", "src/a.rs"]
            .map(|path| format!("{path}:{line}: too_long has {lines} lines"))
    );
}

#[test]
fn an_export_that_main_does_not_use_is_found() {
    let main = "use httpipe::{Server, config::Config}; fn main() { httpipe::open_log(); }";
    let library = "mod conn;\n\
        pub mod config;\n\
        pub use server::{Server, run};\n\
        pub use observe::log::open as open_log;\n\
        pub use limits::*;\n\
        pub mod model;\n\
        /// For tests.\n\
        #[doc(hidden)]\n\
        pub mod testing { pub mod any; }\n";
    let files = tree(&[("src/lib.rs", library), ("src/main.rs", main)]);
    assert_eq!(
        needless_exports(&files),
        [
            "src/lib.rs:3: exports run",
            "src/lib.rs:5: exports *",
            "src/lib.rs:6: exports model",
        ]
    );
    let files = tree(&[("src/lib.rs", "pub mod testing;")]);
    assert_eq!(needless_exports(&files), ["src/lib.rs:1: exports testing"]);
}
