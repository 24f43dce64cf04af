//! The rules of the house, held by looking at the source text.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::vectors::root;

const LONGEST_FILE: usize = 600;

/// Layers from the ground up; a file may use its own layer and those below it.
const LAYERS: [&[&str]; 4] = [
    &["cpu", "error", "memory", "pool"],
    &["checksum", "codec", "hash", "rs"],
    &["frame", "gpu", "nmt"],
    &["bindings"],
];

/// The one upward edge: errors name the codec that they are about.
const EXCEPTIONS: [(&str, &str); 1] = [("error.rs", "codec")];

struct Source {
    /// Path below `src`, with slashes.
    name: String,
    /// The top-level module that it belongs to.
    module: String,
    /// Its lines without comments.
    code: String,
}

impl Source {
    fn read(path: &Path) -> Self {
        let name = path
            .strip_prefix(root().join("src"))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let module = name
            .split('/')
            .next()
            .unwrap()
            .trim_end_matches(".rs")
            .to_owned();
        let code = fs::read_to_string(path).unwrap();
        let code = code
            .lines()
            .map(|line| without_comment(line).to_owned() + "\n")
            .collect();
        Self { name, module, code }
    }

    fn is_core(&self) -> bool {
        self.module != "bindings"
    }

    /// The top-level modules that it names by `crate::`, in any of Rust's ways to write that.
    fn dependencies(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            if let Some(group) = rest.strip_prefix('{') {
                found.extend(group_heads(group));
            } else {
                found.insert(word(rest));
            }
        }
        found
    }
}

/// Comments have no say. A `//` inside of a string ends the line early, which hides no `use`.
fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The identifier that `text` starts with.
fn word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

/// `a::{b, c}, d` up to the closing brace of the group: `a` and `d`.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = vec![word(group)];
    let mut depth = 1;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(word(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

fn files(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path
                .file_name()
                .is_some_and(|name| name != "target" && name != "__pycache__")
            {
                found.extend(files(&path, endings));
            }
        } else if path
            .extension()
            .is_some_and(|ending| endings.iter().any(|one| ending == *one))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<Source> {
    let sources: Vec<_> = files(&root().join("src"), &["rs"])
        .iter()
        .map(|path| Source::read(path))
        .collect();
    assert!(sources.len() > 20, "the source was not found");
    sources
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn dependencies_are_found_however_they_are_written() {
    let source = Source {
        name: "x.rs".into(),
        module: "x".into(),
        code: "use crate::{\n    a::{b, c::{d, e}},\n    f,\n    pub_g as h,\n};\nuse crate::i;\nfn j() { crate::k::l(); }"
            .into(),
    };
    let found: Vec<String> = source.dependencies().into_iter().collect();
    assert_eq!(found, ["a", "f", "i", "k", "pub_g"]);
    assert_eq!(without_comment("use a; // use crate::b;"), "use a; ");
}

#[test]
fn every_file_belongs_to_a_layer() {
    for source in sources().iter().filter(|source| source.name != "lib.rs") {
        assert!(
            layer(&source.module).is_some(),
            "{} is in no layer",
            source.name
        );
    }
}

#[test]
fn imports_go_down_only() {
    for source in sources().iter().filter(|source| source.name != "lib.rs") {
        let own = layer(&source.module).expect("a layer");
        for module in source.dependencies() {
            if EXCEPTIONS.contains(&(&source.name, &module)) {
                continue;
            }
            // `crate::Error` and `crate::Result` would be re-exports of the ground layer.
            let other = layer(&module).unwrap_or(0);
            assert!(other <= own, "{} uses crate::{module}", source.name);
        }
        assert!(
            !source.code.contains("super::super"),
            "{}: write crate:: instead",
            source.name
        );
        let top_level = !source.name.contains('/') || source.name.ends_with("/mod.rs");
        assert!(
            !(source.is_core() && top_level && source.code.contains("super::")),
            "{}: write crate:: instead",
            source.name
        );
        assert!(
            !source.code.contains("shardpack::"),
            "{}: write crate:: instead",
            source.name
        );
    }
}

#[test]
fn exceptions_are_still_needed() {
    for (name, module) in EXCEPTIONS {
        let sources = sources();
        let source = sources
            .iter()
            .find(|source| source.name == name)
            .expect(name);
        assert!(
            source.dependencies().contains(module),
            "{name} no longer uses {module}"
        );
    }
}

#[test]
fn only_the_bindings_know_python() {
    for source in sources().iter().filter(|source| source.is_core()) {
        for name in [
            "pyo3",
            "PyErr",
            "PyResult",
            "arrow_array",
            "arrow_data",
            "arrow_buffer",
            "arrow_schema",
        ] {
            assert!(!source.code.contains(name), "{} says {name}", source.name);
        }
    }
}

#[test]
fn only_the_pool_makes_threads() {
    const BANNED: [&str; 9] = [
        "ThreadPool",
        "rayon::scope",
        "rayon::spawn",
        "rayon::join",
        "rayon::current_",
        "rayon::broadcast",
        "build_global",
        "thread::spawn",
        "thread::scope",
    ];
    for source in sources().iter().filter(|source| source.name != "pool.rs") {
        for name in BANNED {
            assert!(
                !source.code.contains(name),
                "{} says {name}; use pool",
                source.name
            );
        }
    }
}

#[test]
fn who_works_in_parallel_has_asked_whether_it_is_on_a_pool() {
    // Outside of a pool of ours Rayon would build its global one, which does not survive a fork.
    let mut count = 0;
    for source in &sources() {
        let parallel = [
            "par_iter",
            "par_chunks",
            "par_bridge",
            "par_sort",
            "par_split",
        ];
        if parallel.iter().any(|name| source.code.contains(name)) {
            assert!(
                source.code.contains("workers()"),
                "{} never asks pool::workers()",
                source.name
            );
            count += 1;
        }
    }
    assert!(count > 3);
}

#[test]
fn the_core_waits_for_no_lock() {
    // One that another thread holds at the moment of a fork stays held in the child. `try_lock` is
    // fine.
    for source in sources().iter().filter(|source| source.is_core()) {
        for name in [
            ".lock()", "RwLock", "OnceLock", "LazyLock", "Condvar", "Once::",
        ] {
            assert!(!source.code.contains(name), "{} says {name}", source.name);
        }
    }
}

#[test]
fn the_core_does_not_panic_on_purpose() {
    const BANNED: [&str; 7] = [
        ".unwrap()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unimplemented!(",
        "unwrap_unchecked",
    ];
    for source in sources().iter().filter(|source| source.is_core()) {
        for name in BANNED {
            assert!(!source.code.contains(name), "{} says {name}", source.name);
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let folders = ["src", "tests", "benches", "python"].map(|name| root().join(name));
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        for path in files(folder, &["rs", "py", "pyi"]) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            // The stub mirrors the whole native module, which is flat.
            if path.file_name().is_some_and(|name| name == "_native.pyi") {
                continue;
            }
            assert!(
                lines <= LONGEST_FILE,
                "{} has {lines} lines",
                path.display()
            );
        }
    }
}
