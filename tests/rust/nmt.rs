//! Namespaced Merkle trees: roots, trees, the proofs that they give.

use proptest::prelude::*;
use serde_json::Value;
use shardpack::{
    Error,
    hash::Algorithm,
    nmt::{
        HASHES, Kind, Packed, Params, Proof, Tree, root, root_packed, sorted_root,
        sorted_root_packed,
    },
    pool::{self, Cancel},
};

use crate::{
    nmt_naive::{self, Leaf},
    vectors::{hex, json, number, rows, text, unhex},
};

pub const FILES: [&str; 7] = [
    "sha256-ns8",
    "sha256-ns8-1000",
    "sha256-ns29",
    "sha256-ns29-1000",
    "blake3-ns8",
    "blake3-ns29",
    "keccak256-ns8",
];

pub static NEVER: Cancel = Cancel::new();

/// The cases of all files of recorded trees.
pub fn cases() -> Vec<Value> {
    let mut names: Vec<String> = FILES.map(String::from).to_vec();
    names.push("blake3-ns8-1000".into());
    let files = names.iter().map(|name| json(&format!("nmt/{name}.json")));
    files.flat_map(|file| rows(&file, "cases")).collect()
}

pub fn params_of(row: &Value) -> Params {
    let hash = Algorithm::of_name(text(row, "hash")).expect("hash");
    let ignore_max = row["ignore_max_namespace"].as_bool().expect("flag");
    Params::new(hash, number(row, "ns_size") as usize, ignore_max).expect("parameters")
}

pub fn leaves_of(row: &Value) -> Vec<Leaf> {
    let leaves = row["leaves"].as_array().expect("leaves").iter();
    let part = |leaf: &Value, at: usize| unhex(leaf[at].as_str().expect("hexadecimal"));
    leaves.map(|leaf| (part(leaf, 0), part(leaf, 1))).collect()
}

/// Namespaces and data of leaves, each in a list of their own.
pub fn unzip(leaves: &[Leaf]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let pairs = leaves.iter();
    pairs
        .map(|(ns, data)| (ns.as_slice(), data.as_slice()))
        .unzip()
}

pub fn tree_of(params: Params, leaves: &[Leaf]) -> Tree {
    let (namespaces, data) = unzip(leaves);
    let mut tree = Tree::new(params);
    tree.extend(&namespaces, &data, &NEVER).expect("leaves");
    tree
}

fn joined(parts: &[&[u8]]) -> (Vec<u8>, Vec<u64>) {
    let mut offsets = vec![0];
    for part in parts {
        offsets.push(offsets.last().expect("offset") + part.len() as u64);
    }
    (parts.concat(), offsets)
}

#[test]
fn recorded_roots_come_out_of_every_way_to_make_one() {
    for case in cases() {
        let (params, leaves) = (params_of(&case), leaves_of(&case));
        let due = unhex(text(&case, "root"));
        let name = text(&case, "name");
        let (namespaces, data) = unzip(&leaves);
        assert_eq!(tree_of(params, &leaves).root(), due, "{name}");
        let mut pushed = Tree::new(params);
        for (index, (ns, data)) in leaves.iter().enumerate() {
            assert_eq!(pushed.push(ns, data), Ok(index as u64));
        }
        assert_eq!(pushed.root(), due, "{name}");
        if leaves.is_empty() {
            assert_eq!(params.empty_root(), due);
            continue;
        }
        assert_eq!(
            root(params, &data, &namespaces, &NEVER),
            Ok(due.clone()),
            "{name}"
        );
        assert_eq!(
            sorted_root(params, &data, &namespaces, &NEVER),
            Ok(due.clone())
        );
        let (bytes, offsets) = joined(&data);
        let names = namespaces.concat();
        let packed = Packed {
            data: &bytes,
            offsets: &offsets,
            namespaces: &names,
        };
        assert_eq!(root_packed(params, packed, &NEVER), Ok(due.clone()));
        assert_eq!(sorted_root_packed(params, packed, &NEVER), Ok(due));
    }
}

#[test]
fn published_roots_and_nodes_come_out() {
    for case in rows(&json("nmt/published.json"), "cases") {
        let tree = tree_of(params_of(&case), &leaves_of(&case));
        assert_eq!(hex(&tree.root()), text(&case, "root"));
        if let Some(prefix) = case["root_prefix_published"].as_str() {
            assert!(hex(&tree.root()).starts_with(prefix));
            let due = &case["namespace_01"];
            let proof = tree.prove_namespace(&[1], false).expect("proof");
            assert_eq!(
                (proof.start(), proof.end()),
                (number(due, "start"), number(due, "end"))
            );
            let nodes: Vec<String> = proof.nodes().map(hex).collect();
            assert_eq!(Value::from(nodes), due["nodes_published"]);
            assert_eq!(proof.to_celestia_json(), text(due, "json_published"));
        }
    }
}

#[test]
fn recorded_proofs_come_out() {
    for case in cases() {
        let (params, leaves) = (params_of(&case), leaves_of(&case));
        let tree = tree_of(params, &leaves);
        let check = |proof: &Proof, row: &Value, key: &str| {
            assert_eq!(
                hex(&proof.to_bytes()),
                text(row, key),
                "{}",
                text(&case, "name")
            );
            assert_eq!(Proof::from_bytes(&proof.to_bytes()).as_ref(), Ok(proof));
        };
        for row in case["inclusion"].as_array().expect("list") {
            let proof = tree.prove(number(row, "index")).expect("proof");
            check(&proof, row, "nmtp");
        }
        for row in case["ranges"].as_array().expect("list") {
            let (start, end) = (number(row, "start"), number(row, "end"));
            check(
                &tree.prove_range(start, end, false).expect("proof"),
                row,
                "nmtp",
            );
        }
        for row in rows(&case, "namespaces") {
            let ns = unhex(text(&row, "namespace"));
            let proof = tree.prove_namespace(&ns, false).expect("proof");
            check(&proof, &row, "nmtp");
            assert_eq!(proof.kind().name(), text(&row, "kind"));
            if row["nmtp_with_leaf_nodes"].is_string() {
                let proof = tree.prove_namespace(&ns, true).expect("proof");
                check(&proof, &row, "nmtp_with_leaf_nodes");
            }
        }
    }
}

fn text_of<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::InvalidInput(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn recorded_mistakes_are_refused() {
    let params = Params::new(Algorithm::Sha256, 8, false).expect("parameters");
    for row in rows(&json("nmt/errors.json"), "root") {
        let list = |key: &str| -> Vec<Vec<u8>> {
            let items = row[key].as_array().expect(key).iter();
            items
                .map(|item| unhex(item.as_str().expect("text")))
                .collect()
        };
        let (leaves, namespaces) = (list("leaves"), list("namespaces"));
        let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
        let namespaces: Vec<&[u8]> = namespaces.iter().map(Vec::as_slice).collect();
        let why = text(&row, "why");
        assert!(
            !text_of(root(params, &leaves, &namespaces, &NEVER)).is_empty(),
            "{why}"
        );
        let mut tree = Tree::new(params);
        let made = tree.extend(&namespaces, &leaves, &NEVER);
        assert_eq!(made.is_err(), !leaves.is_empty(), "{why}");
        assert_eq!((tree.len(), tree.root()), (0, params.empty_root()), "{why}");
    }
}

#[test]
fn the_first_wrong_leaf_is_named_whichever_thread_finds_one() {
    let params = Params::new(Algorithm::Sha256, 2, false).expect("parameters");
    let count = 40_000;
    let names: Vec<[u8; 2]> = (0..count).map(|at| (at as u16).to_be_bytes()).collect();
    let data = vec![b"leaf".as_slice(); count];
    for (first, second) in [(7, 39_999), (20_000, 20_001), (12_288, 30_000)] {
        let mut namespaces: Vec<&[u8]> = names.iter().map(<[u8; 2]>::as_slice).collect();
        namespaces[first] = b"\0\0";
        namespaces[second] = b"three";
        let made = || root(params, &data, &namespaces, &NEVER);
        for threads in [1, 3] {
            let problem = text_of(pool::install(Some(threads), made).expect("pool"));
            assert_eq!(
                problem,
                format!(
                    "leaf {first}: namespace 0000 is smaller than its predecessor {}",
                    hex(&names[first - 1])
                )
            );
        }
        let mut tree = Tree::new(params);
        tree.push(b"\0\0", b"before").expect("leaf");
        let before = tree.root();
        let problem = text_of(tree.extend(&namespaces, &data, &NEVER));
        assert!(
            problem.starts_with(&format!("leaf {}: ", first + 1)),
            "{problem}"
        );
        assert_eq!((tree.len(), tree.root()), (1, before));
        namespaces[first] = b"";
        assert_eq!(
            text_of(root(params, &data, &namespaces, &NEVER)),
            format!("leaf {first}: namespace must be 2 bytes, got 0")
        );
        assert_eq!(
            text_of(sorted_root(params, &data, &namespaces, &NEVER)),
            format!("leaf {first}: namespace must be 2 bytes, got 0")
        );
    }
}

#[test]
fn parameters_that_make_no_tree_are_refused() {
    for size in [0, 256, usize::MAX] {
        let problem = text_of(Params::new(Algorithm::Sha256, size, false));
        assert_eq!(problem, format!("ns_size must be 1 to 255, got {size}"));
    }
    assert!(text_of(Params::new(Algorithm::Sha3_256, 8, false)).contains("sha3_256"));
}

#[test]
fn packed_leaves_must_lie_in_their_buffer() {
    let params = Params::new(Algorithm::Sha256, 1, false).expect("parameters");
    let made = |offsets: &[u64], namespaces: &[u8]| {
        let packed = Packed {
            data: b"abcdef",
            offsets,
            namespaces,
        };
        root_packed(params, packed, &NEVER)
    };
    let due = root(params, &[b"bc", b"d"], &[b"1", b"2"], &NEVER);
    assert_eq!(made(&[1, 3, 4], b"12"), due, "a part of the buffer");
    assert!(text_of(made(&[], b"")).contains("got none"));
    assert!(text_of(made(&[0], b"")).contains("at least one leaf"));
    assert_eq!(
        text_of(made(&[0, 2, 1], b"12")),
        "leaf 1: offsets 2 to 1 are no range of 6 bytes"
    );
    assert!(text_of(made(&[0, 2, 7], b"12")).starts_with("leaf 1: offsets 2 to 7"));
    assert!(text_of(made(&[u64::MAX, 2], b"1")).starts_with("leaf 0: "));
    assert_eq!(
        text_of(made(&[0, 2, 4], b"123")),
        "namespaces of 2 leaves take 2 bytes, got 3"
    );
}

#[test]
fn impossible_proofs_are_refused() {
    let params = Params::new(Algorithm::Sha256, 1, false).expect("parameters");
    let leaves = [(vec![1], vec![]), (vec![1], vec![]), (vec![2], vec![])];
    let tree = tree_of(params, &leaves);
    assert_eq!(
        text_of(tree.prove(3)),
        "leaf 3 is not in a tree of 3 leaves"
    );
    assert!(tree.prove(u64::MAX).is_err());
    for (start, end) in [(0, 0), (2, 1), (0, 4), (u64::MAX, 0), (0, u64::MAX)] {
        let problem = text_of(tree.prove_range(start, end, false));
        assert_eq!(
            problem,
            format!("{start}..{end} is no range of a tree of 3 leaves")
        );
    }
    assert!(text_of(tree.prove_range(1, 3, false)).contains("several namespaces, 01 to 02"));
    assert!(text_of(tree.prove_namespace(b"", false)).contains("must be 1 bytes, got 0"));
    assert!(text_of(tree.leaf_range(b"ab")).contains("must be 1 bytes, got 2"));
}

#[test]
fn interrupted_work_leaves_the_tree_as_it_was() {
    let params = Params::new(Algorithm::Sha256, 1, false).expect("parameters");
    let mut tree = tree_of(params, &[(vec![1], vec![1]), (vec![1], vec![2])]);
    let before = tree.root();
    let stopped = Cancel::new();
    stopped.cancel();
    let (namespaces, data) = (vec![b"\x05".as_slice(); 500], vec![b"".as_slice(); 500]);
    assert_eq!(
        tree.extend(&namespaces, &data, &stopped),
        Err(Error::Interrupted)
    );
    assert_eq!(
        root(params, &data, &namespaces, &stopped),
        Err(Error::Interrupted)
    );
    assert_eq!((tree.len(), tree.root()), (2, before));
    assert_eq!(tree.leaf_range(b"\x05"), Ok((2, 2)));
    tree.extend(&namespaces, &data, &NEVER).expect("leaves");
    assert_eq!(tree.leaf_range(b"\x05"), Ok((2, 502)));
}

/// Made leaves: `count` of them, in about `names` namespaces, of lengths around `len`.
fn made_leaves(count: usize, names: usize, len: usize, width: usize) -> Vec<Leaf> {
    let leaf = |index: usize| {
        let place = (index * names / count.max(1)) as u64;
        let mut ns = vec![0; width];
        for (at, byte) in ns.iter_mut().rev().zip(place.to_le_bytes()) {
            *at = byte;
        }
        let long = if index % 7 == 3 { len } else { len / 2 };
        let data = nmt_naive::hash(Algorithm::Blake3, &index.to_le_bytes());
        (
            ns,
            data.into_iter().cycle().take(long + index % 5).collect(),
        )
    };
    (0..count).map(leaf).collect()
}

#[test]
fn roots_of_many_leaves_do_not_depend_on_threads() {
    for (hash, count, names, len) in [
        (Algorithm::Sha256, 9000, 9000, 40),
        (Algorithm::Blake3, 8193, 100, 300),
        (Algorithm::Keccak256, 4097, 3, 0),
        (Algorithm::Sha256, 70, 9, 100_000),
    ] {
        let params = Params::new(hash, 3, false).expect("parameters");
        let leaves = made_leaves(count, names, len, 3);
        let (namespaces, data) = unzip(&leaves);
        let due = nmt_naive::Tree::new(params, leaves.clone()).root();
        assert_eq!(
            root(params, &data, &namespaces, &NEVER).as_ref(),
            Ok(&due),
            "serial"
        );
        for threads in [1, 2, 5] {
            let made = || root(params, &data, &namespaces, &NEVER);
            assert_eq!(
                pool::install(Some(threads), made).expect("pool").as_ref(),
                Ok(&due)
            );
            let made = || tree_of(params, &leaves).root();
            assert_eq!(pool::install(Some(threads), made).expect("pool"), due);
        }
    }
}

#[test]
fn leaves_that_come_in_any_order_are_sorted_and_keep_theirs_within_a_namespace() {
    let params = Params::new(Algorithm::Sha256, 2, false).expect("parameters");
    let mut leaves = made_leaves(3000, 70, 9, 2);
    let due = tree_of(params, &leaves).root();
    // Namespaces backwards, the leaves of each as they were.
    leaves.reverse();
    let mut turned = Vec::new();
    for group in leaves.chunk_by(|a, b| a.0 == b.0) {
        turned.extend(group.iter().rev().cloned());
    }
    let (namespaces, data) = unzip(&turned);
    assert!(root(params, &data, &namespaces, &NEVER).is_err());
    for threads in [1, 3] {
        let made = || sorted_root(params, &data, &namespaces, &NEVER);
        assert_eq!(
            pool::install(Some(threads), made).expect("pool").as_ref(),
            Ok(&due)
        );
    }
}

/// Leaves in a few narrow namespaces, the greatest one among them.
pub fn small_trees() -> impl Strategy<Value = nmt_naive::Tree> {
    let leaf = (0..9_u8, proptest::collection::vec(any::<u8>(), 0..80));
    let leaves = proptest::collection::vec(leaf, 0..50);
    let width = prop_oneof![Just(1_usize), Just(8), Just(29), Just(255)];
    (leaves, 0..3_usize, width, any::<bool>()).prop_map(|(mut leaves, hash, width, ignore_max)| {
        leaves.sort_by_key(|leaf| leaf.0);
        let params = Params::new(HASHES[hash], width, ignore_max).expect("parameters");
        let name = |place: u8| {
            let mut ns = vec![if place == 8 { 0xff } else { 0 }; width];
            if place < 8 {
                ns[width - 1] = 2 * place + 1;
            }
            ns
        };
        let leaves = leaves.into_iter().map(|(place, data)| (name(place), data));
        nmt_naive::Tree::new(params, leaves.collect())
    })
}

proptest! {
    #[test]
    fn trees_are_those_of_the_naive_rule(naive in small_trees(), cut in any::<u16>()) {
        let (params, leaves) = (naive.params, &naive.leaves);
        let (namespaces, data) = unzip(leaves);
        // In two parts, so that odd ends are continued.
        let cut = usize::from(cut) * leaves.len() / 65_536;
        let mut tree = Tree::new(params);
        tree.extend(&namespaces[..cut], &data[..cut], &NEVER).unwrap();
        tree.extend(&namespaces[cut..], &data[cut..], &NEVER).unwrap();
        prop_assert_eq!(tree.root(), naive.root());
        if !leaves.is_empty() {
            prop_assert_eq!(root(params, &data, &namespaces, &NEVER).unwrap(), naive.root());
        }
        for index in 0..leaves.len() {
            let proof = tree.prove(index as u64).unwrap();
            let nodes: Vec<_> = proof.nodes().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(nodes, naive.outside(index, index + 1));
        }
        for ns in naive.leaves.iter().map(|leaf| &leaf.0) {
            let (start, end, _) = naive.of(ns);
            let range = (start as u64, end as u64);
            prop_assert_eq!(tree.leaf_range(ns).unwrap(), range);
            let proof = tree.prove_range(range.0, range.1, true).unwrap();
            prop_assert_eq!(proof.kind(), Kind::Inclusion);
            let nodes: Vec<_> = proof.nodes().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(nodes, naive.outside(start, end));
            let nodes: Vec<_> = proof.leaf_nodes().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&nodes, &naive.nodes[start..end]);
        }
    }
}
