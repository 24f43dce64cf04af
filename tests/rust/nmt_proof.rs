//! Proofs of namespaced Merkle trees: what verifies, and that nothing else does.

use proptest::prelude::*;
use serde_json::Value;
use shardpack::{
    Error,
    hash::Algorithm,
    nmt::{Kind, Params, Pins, Proof, Tree, proof, verify, verify_namespace, verify_range},
    pool,
};

use crate::{
    nmt::{NEVER, cases, leaves_of, params_of, small_trees, tree_of, unzip},
    nmt_naive::{self, Leaf},
    vectors::{json, number, rows, text, unhex},
};

const FREE: Pins = Pins {
    hash: None,
    size: None,
    ignore_max: None,
};

fn sized(size: usize) -> Pins {
    Pins {
        size: Some(size as u64),
        ..FREE
    }
}

#[test]
fn recorded_queries_get_their_answers() {
    let queries = rows(&json("nmt/verify.json"), "queries");
    for query in &queries {
        let bytes = |key: &str| unhex(text(query, key));
        let (proof, ns, root) = (bytes("proof"), bytes("namespace"), bytes("root"));
        let leaves: Vec<Vec<u8>> = match query["leaves"].as_array() {
            Some(leaves) => leaves
                .iter()
                .map(|leaf| unhex(leaf.as_str().expect("text")))
                .collect(),
            None => vec![bytes("leaf")],
        };
        let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
        let pins = Pins {
            hash: query["hash"]
                .as_str()
                .map(|name| Algorithm::of_name(name).expect("hash")),
            size: query["size"].as_u64(),
            ignore_max: None,
        };
        let found = match text(query, "fn") {
            "verify" => verify(&proof, leaves[0], &ns, &root, pins, &NEVER),
            "verify_range" => verify_range(&proof, &leaves, &ns, &root, pins, &NEVER),
            "verify_namespace" => verify_namespace(&proof, &leaves, &ns, &root, pins, &NEVER),
            other => panic!("no function {other}"),
        };
        assert_eq!(
            found.map(Value::from).as_ref(),
            Ok(&query["expect"]),
            "{}",
            text(query, "why")
        );
    }
}

#[test]
fn recorded_proofs_verify() {
    for case in cases() {
        let (params, leaves) = (params_of(&case), leaves_of(&case));
        let naive = nmt_naive::Tree::new(params, leaves);
        let root = unhex(text(&case, "root"));
        let pins = sized(naive.leaves.len());
        for row in case["inclusion"].as_array().expect("list") {
            let (ns, data) = &naive.leaves[number(row, "index") as usize];
            let proof = unhex(text(row, "nmtp"));
            assert_eq!(verify(&proof, data, ns, &root, pins, &NEVER), Ok(true));
            assert_eq!(verify(&proof, b"other", ns, &root, pins, &NEVER), Ok(false));
        }
        for row in rows(&case, "namespaces") {
            let ns = unhex(text(&row, "namespace"));
            let (_, _, leaves) = naive.of(&ns);
            let due = row["verify_namespace"].as_bool().expect("answer");
            for key in ["nmtp", "nmtp_with_leaf_nodes"] {
                let Some(proof) = row[key].as_str().map(unhex) else {
                    continue;
                };
                let found = verify_namespace(&proof, &leaves, &ns, &root, pins, &NEVER);
                assert_eq!(found, Ok(due), "{}", text(&case, "name"));
            }
        }
    }
}

#[test]
fn an_empty_proof_cannot_clear_the_flag_of_a_tree_whose_flag_is_pinned() {
    let made = |flag| Params::new(Algorithm::Sha256, 1, flag).expect("parameters");
    let leaves = [(vec![1], b"a".to_vec()), (vec![255], b"b".to_vec())];
    let tree = tree_of(made(true), &leaves);
    let root = tree.root();
    for flag in [true, false] {
        let empty = Tree::new(made(flag)).prove_namespace(&[255], false);
        let bytes = empty.expect("proof").to_bytes();
        for (pin, due) in [(Some(true), false), (Some(false), !flag), (None, !flag)] {
            let pins = Pins {
                ignore_max: pin,
                ..FREE
            };
            let found = verify_namespace(&bytes, &[], &[255], &root, pins, &NEVER);
            assert_eq!(found, Ok(due), "{flag} {pin:?}");
        }
    }
}

fn small_case() -> (Tree, Vec<Leaf>) {
    let names = [1, 3, 3, 3, 3, 7, 7, 9];
    let leaf = |(at, ns): (usize, &u8)| (vec![*ns], format!("leaf {at}").into_bytes());
    let leaves: Vec<_> = names.iter().enumerate().map(leaf).collect();
    let params = Params::new(Algorithm::Sha256, 1, false).expect("parameters");
    (tree_of(params, &leaves), leaves)
}

#[test]
fn damaged_proofs_do_not_verify() {
    let (tree, leaves) = small_case();
    let root = tree.root();
    let threes: Vec<&[u8]> = leaves[1..5].iter().map(|leaf| leaf.1.as_slice()).collect();
    let inclusion = tree.prove(6).expect("proof").to_bytes();
    let complete = tree.prove_namespace(&[3], false).expect("proof").to_bytes();
    let absence = tree.prove_namespace(&[5], false).expect("proof").to_bytes();
    let check = |bytes: &[u8]| -> [bool; 3] {
        let pins = sized(leaves.len());
        [
            verify(bytes, &leaves[6].1, &[7], &root, pins, &NEVER).unwrap(),
            verify_namespace(bytes, &threes, &[3], &root, pins, &NEVER).unwrap(),
            verify_namespace(bytes, &[], &[5], &root, pins, &NEVER).unwrap(),
        ]
    };
    for (which, whole) in [inclusion, complete, absence].iter().enumerate() {
        let mut due = [false; 3];
        due[which] = true;
        assert_eq!(check(whole), due);
        for len in 0..whole.len() {
            assert_eq!(check(&whole[..len]), [false; 3], "cut to {len} bytes");
        }
        for extra in [1, 34, 68] {
            let longer = [whole.as_slice(), &vec![0; extra]].concat();
            assert_eq!(check(&longer), [false; 3], "{extra} bytes more");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                if (at, bit) == (8, 0) {
                    // The flag: without a leaf of the greatest namespace it changes nothing.
                    continue;
                }
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(check(&changed), [false; 3], "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn a_complete_proof_carries_a_proof_of_each_of_its_leaves() {
    let (tree, leaves) = small_case();
    let root = tree.root();
    let proof = tree.prove_namespace(&[3], true).expect("proof").to_bytes();
    for (at, (ns, data)) in leaves.iter().enumerate() {
        let found = verify(&proof, data, ns, &root, FREE, &NEVER);
        assert_eq!(found, Ok((1..5).contains(&at)), "leaf {at}");
    }
    let without = tree.prove_namespace(&[3], false).expect("proof").to_bytes();
    assert_eq!(
        verify(&without, &leaves[1].1, &[3], &root, FREE, &NEVER),
        Ok(false)
    );
}

#[test]
fn a_range_is_no_whole_namespace() {
    let (tree, leaves) = small_case();
    let root = tree.root();
    let threes: Vec<&[u8]> = leaves[1..5].iter().map(|leaf| leaf.1.as_slice()).collect();
    for (from, to) in [(0, 4), (0, 2), (1, 3), (2, 4), (3, 4)] {
        let proof = tree
            .prove_range(from as u64 + 1, to as u64 + 1, false)
            .expect("proof");
        let (bytes, part) = (proof.to_bytes(), &threes[from..to]);
        assert_eq!(
            verify_range(&bytes, part, &[3], &root, FREE, &NEVER),
            Ok(true)
        );
        assert_eq!(
            verify_range(&bytes, part, &[7], &root, FREE, &NEVER),
            Ok(false)
        );
        assert_eq!(
            verify_range(&bytes, &part[1..], &[3], &root, FREE, &NEVER),
            Ok(false)
        );
        assert_eq!(
            verify_namespace(&bytes, part, &[3], &root, FREE, &NEVER),
            Ok(false)
        );
        let mut renamed = bytes.clone();
        renamed[5] = Kind::Namespace as u8;
        let found = verify_namespace(&renamed, part, &[3], &root, FREE, &NEVER);
        assert_eq!(found, Ok((from, to) == (0, 4)));
    }
}

#[test]
fn large_proofs_verify_on_any_number_of_threads() {
    // Runs that begin and end within blocks of work, and one that covers several.
    let counts = [5_usize, 5000, 1, 900];
    let mut leaves = Vec::new();
    for (name, count) in counts.into_iter().enumerate() {
        for at in 0..count {
            leaves.push((vec![name as u8], at.to_le_bytes().to_vec()));
        }
    }
    for hash in shardpack::nmt::HASHES {
        let params = Params::new(hash, 1, false).expect("parameters");
        let tree = tree_of(params, &leaves);
        let (root, pins) = (tree.root(), sized(leaves.len()));
        for name in 0..counts.len() as u8 {
            let (start, end) = tree.leaf_range(&[name]).expect("range");
            let (_, data) = unzip(&leaves[start as usize..end as usize]);
            for with in [false, true] {
                let proof = tree
                    .prove_namespace(&[name], with)
                    .expect("proof")
                    .to_bytes();
                let answer = |data: &[&[u8]]| {
                    let found = verify_namespace(&proof, data, &[name], &root, pins, &NEVER);
                    found.unwrap()
                        && verify_range(&proof, data, &[name], &root, pins, &NEVER).unwrap()
                };
                let mut other = data.clone();
                *other.last_mut().unwrap() = b"other";
                for threads in [1, 3] {
                    assert!(pool::install(Some(threads), || answer(&data)).unwrap());
                    assert!(!pool::install(Some(threads), || answer(&other)).unwrap());
                }
                assert!(answer(&data));
            }
        }
    }
}

#[test]
fn indices_far_out_cost_no_more_than_the_nodes_at_hand() {
    let params = Params::new(Algorithm::Sha256, 1, false).expect("parameters");
    let node = nmt_naive::leaf(params, &[4], b"x");
    for start in [
        (1_u64 << 62) - 2,
        (1 << 61) - 1,
        1 << 60,
        0x1555_5555_5555_5555,
    ] {
        let left = start.count_ones() as usize;
        for (count, more) in [(1, 0), (2, 0), (2, 64)] {
            if start + count > proof::MAX_END {
                continue;
            }
            let nodes = node.repeat((left + more).min(proof::MAX_NODES));
            let range = (start, start + count);
            let made = Proof::new(Kind::Inclusion, params, range, nodes, Vec::new());
            let bytes = made.expect("proof").to_bytes();
            let leaves = vec![b"x".as_slice(); count as usize];
            let found = verify_range(&bytes, &leaves, &[4], &node, FREE, &NEVER);
            assert_eq!(found, Ok(false));
        }
    }
}

#[test]
fn parts_that_make_no_proof_are_refused() {
    let params = Params::new(Algorithm::Sha256, 1, false).expect("parameters");
    let node = nmt_naive::leaf(params, &[4], b"x");
    let turned = [&[5, 4], &node[2..]].concat();
    let empty = Vec::new;
    for (kind, range, nodes, leaf_nodes) in [
        (Kind::Empty, (0, 1), empty(), empty()),
        (Kind::Empty, (0, 0), node.clone(), empty()),
        (Kind::Inclusion, (0, 0), empty(), empty()),
        (Kind::Inclusion, (2, 1), empty(), empty()),
        (Kind::Inclusion, (0, (1 << 62) + 1), empty(), empty()),
        (Kind::Inclusion, (3, 4), node.clone(), empty()),
        (Kind::Inclusion, (0, 1), node.repeat(65), empty()),
        (Kind::Inclusion, (0, 1), node[1..].to_vec(), empty()),
        (Kind::Inclusion, (0, 1), turned.clone(), empty()),
        (Kind::Namespace, (0, 2), empty(), node.clone()),
        (Kind::Namespace, (0, 1), empty(), turned),
        (Kind::Absence, (0, 1), empty(), empty()),
        (Kind::Absence, (0, 2), empty(), node.repeat(2)),
    ] {
        let made = Proof::new(kind, params, range, nodes, leaf_nodes);
        assert!(
            matches!(made, Err(Error::ProofFormat(_))),
            "{kind:?} {range:?}"
        );
    }
}

#[test]
fn no_proof_is_longer_than_64_mib() {
    let params = Params::new(Algorithm::Sha256, 255, false).expect("parameters");
    let node = nmt_naive::leaf(params, &[4; 255], b"x");
    let count = proof::MAX_PROOF_LEN / node.len();
    let made = |count: usize| {
        let range = (0, count as u64);
        let kind = Kind::Inclusion;
        Proof::new(kind, params, range, Vec::new(), node.repeat(count))
            .map(|proof| proof.to_bytes())
    };
    let longest = made(count).expect("proof");
    assert!(longest.len() <= proof::MAX_PROOF_LEN);
    assert!(Proof::from_bytes(&longest).is_ok());
    assert!(made(count + 1).is_err());
}

proptest! {
    #[test]
    fn every_proof_of_a_tree_verifies_and_only_for_what_it_is_about(naive in small_trees()) {
        let params = naive.params;
        let tree = tree_of(params, &naive.leaves);
        let root = tree.root();
        let pins = sized(naive.leaves.len());
        for (index, (ns, data)) in naive.leaves.iter().enumerate() {
            let proof = tree.prove(index as u64).unwrap().to_bytes();
            prop_assert!(verify(&proof, data, ns, &root, pins, &NEVER).unwrap());
            let other = [data.as_slice(), &[0]].concat();
            prop_assert!(!verify(&proof, &other, ns, &root, pins, &NEVER).unwrap());
            prop_assert!(!verify(&proof, data, ns, &root, sized(index), &NEVER).unwrap());
        }
        let width = params.ns_size();
        for place in (0..=18).chain([255]) {
            let mut ns = vec![if place == 255 { 255 } else { 0 }; width];
            ns[width - 1] = place;
            let (_, _, leaves) = naive.of(&ns);
            let visible = !(params.ignore_max() && place == 255);
            for with in [false, true] {
                let proof = tree.prove_namespace(&ns, with).unwrap().to_bytes();
                let answer = |leaves: &[&[u8]]| {
                    verify_namespace(&proof, leaves, &ns, &root, pins, &NEVER).unwrap()
                };
                prop_assert_eq!(answer(&leaves), visible);
                prop_assert!(!answer(&[&leaves[..], &[b"more".as_slice()]].concat()));
                if !leaves.is_empty() {
                    prop_assert!(!answer(&leaves[1..]));
                }
            }
        }
    }

    #[test]
    fn what_a_proof_leads_to_is_what_the_naive_walk_finds(
        start in prop_oneof![0..40_u64, (0..1_u64 << 40)],
        labels in proptest::collection::vec((0..12_u8, 0..3_u8), 1..60),
        count in 1..12_u64,
        ignore_max in any::<bool>(),
    ) {
        // Left nodes up to the leaves' namespace, right ones from it on; here and there one that is
        // out of order.
        let params = Params::new(Algorithm::Sha256, 1, ignore_max).expect("parameters");
        let left = start.count_ones() as usize;
        let mut labels: Vec<_> = labels.into_iter().cycle().take(left.max(3) + 2).collect();
        labels.sort_unstable();
        let nodes: Vec<Vec<u8>> = labels.iter().enumerate().map(|(at, &(min, more))| {
            let min = if at < left { min / 2 } else { min / 2 * 50 };
            let max = min + if at < left { more / 2 } else { 0 };
            [&[min, max.max(min)], &nmt_naive::hash(Algorithm::Sha256, &[at as u8])[..]].concat()
        }).collect();
        let leaves: Vec<Vec<u8>> = (0..count).map(|at| vec![at as u8]).collect();
        let leaf_nodes: Vec<_> = leaves.iter().map(|leaf| nmt_naive::leaf(params, &[6], leaf)).collect();
        let due = nmt_naive::fold(params, start, &leaf_nodes, &nodes);
        let range = (start, start + count);
        let made = Proof::new(Kind::Inclusion, params, range, nodes.concat(), Vec::new());
        let bytes = made.expect("proof").to_bytes();
        let data: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
        let root = due.clone().unwrap_or_else(|_| nodes[0].clone());
        let found = verify_range(&bytes, &data, &[6], &root, FREE, &NEVER).unwrap();
        prop_assert_eq!(found, due.is_ok());
    }

    #[test]
    fn bytes_that_are_no_proof_verify_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (tree, leaves) = small_case();
        let root = tree.root();
        prop_assert!(!verify(&bytes, &leaves[0].1, &[1], &root, FREE, &NEVER).unwrap());
        prop_assert!(!verify_namespace(&bytes, &[], &[5], &root, FREE, &NEVER).unwrap());
        prop_assert!(Proof::from_bytes(&bytes).is_err());
    }

    #[test]
    fn headers_with_any_fields_are_read_or_refused(
        fields in proptest::array::uniform6(any::<u8>()),
        counts in (0..4_u16, 0..4_u32),
        start in prop_oneof![0..9_u64, any::<u64>()],
        count in prop_oneof![0..9_u64, any::<u64>()],
        body in proptest::collection::vec(any::<u8>(), 0..300),
        fit in any::<bool>(),
    ) {
        let [version, kind, hash, ns_size, flags, zero] = fields;
        let (kind, hash, flags) = (kind % 6, hash % 5, flags % 3);
        let ns_size = if fit { ns_size % 3 + 1 } else { ns_size };
        let (version, zero) = if fit { (1, 0) } else { (version, zero) };
        let mut bytes = b"NMTP".to_vec();
        bytes.extend([version, kind, hash, ns_size, flags, zero]);
        bytes.extend(counts.0.to_be_bytes());
        bytes.extend(counts.1.to_be_bytes());
        bytes.extend(start.to_be_bytes());
        bytes.extend(start.wrapping_add(count).to_be_bytes());
        let due = (usize::from(counts.0) + counts.1 as usize) * (2 * usize::from(ns_size) + 32);
        let body = if fit { body.iter().copied().cycle().take(due.min(body.len() * due)).collect() } else { body };
        bytes.extend(body);
        let ns = vec![0; usize::from(ns_size)];
        let root = vec![0; 2 * usize::from(ns_size) + 32];
        prop_assert!(!verify(&bytes, b"x", &ns, &root, FREE, &NEVER).unwrap());
        prop_assert!(!verify_range(&bytes, &[b"x", b"y"], &ns, &root, FREE, &NEVER).unwrap());
        if let Ok(proof) = Proof::from_bytes(&bytes) {
            prop_assert_eq!(proof.to_bytes(), bytes);
        }
    }
}
