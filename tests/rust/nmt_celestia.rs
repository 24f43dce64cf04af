//! Proofs in Celestia's protobuf and JSON, both ways.

use proptest::prelude::*;
use serde_json::Value;
use shardpack::{
    Error,
    hash::Algorithm,
    nmt::{HASHES, Kind, Params, Pins, Proof, celestia::Import, verify_namespace},
};

use crate::{
    nmt::{NEVER, cases, params_of, small_trees, tree_of},
    nmt_naive,
    vectors::{hex, rows, text, unhex},
};

fn import(params: Params, kind: Kind) -> Import {
    Import {
        params,
        kind,
        force: false,
    }
}

#[test]
fn recorded_encodings_are_read_and_written() {
    let mut count = 0;
    for case in cases() {
        let params = params_of(&case);
        let list = |key: &str| case[key].as_array().expect(key).clone();
        let inclusions = [list("inclusion"), list("ranges")].concat().into_iter();
        let inclusions = inclusions.map(|row| (Kind::Inclusion, row));
        let namespaces = rows(&case, "namespaces").into_iter();
        for (kind, row) in inclusions.chain(namespaces.map(|row| (Kind::Namespace, row))) {
            let proof = Proof::from_bytes(&unhex(text(&row, "nmtp"))).expect("proof");
            let import = import(params, kind);
            if let Some(bytes) = row["protobuf"].as_str() {
                assert_eq!(hex(&proof.to_celestia_protobuf()), bytes);
                let read = Proof::from_celestia_protobuf(&unhex(bytes), import);
                assert_eq!(read.as_ref(), Ok(&proof));
                count += 1;
            }
            if let Some(text) = row["json"].as_str() {
                assert_eq!(proof.to_celestia_json(), text);
                assert_eq!(Proof::from_celestia_json(text, import).as_ref(), Ok(&proof));
                count += 1;
            }
        }
    }
    assert!(count > 100, "{count} encodings");
}

#[test]
fn a_flag_that_was_left_out_can_be_forced() {
    let params = Params::new(Algorithm::Sha256, 1, true).expect("parameters");
    let leaves = [
        (vec![1], b"a".to_vec()),
        (vec![2], b"b".to_vec()),
        (vec![255], b"c".to_vec()),
    ];
    let tree = tree_of(params, &leaves);
    let written = tree
        .prove_namespace(&[1], false)
        .expect("proof")
        .to_celestia_json();
    let bare = written.replace(",\"is_max_namespace_ignored\":true", "");
    assert_ne!(bare, written);
    for (text, force, due) in [
        (&written, false, true),
        (&bare, false, false),
        (&bare, true, true),
    ] {
        let import = Import {
            params,
            kind: Kind::Namespace,
            force,
        };
        let proof = Proof::from_celestia_json(text, import)
            .expect("proof")
            .to_bytes();
        let found = verify_namespace(&proof, &[b"a"], &[1], &tree.root(), Pins::default(), &NEVER);
        assert_eq!(found, Ok(due));
    }
}

fn params() -> Params {
    Params::new(Algorithm::Sha256, 1, false).expect("parameters")
}

fn read_json(text: &str) -> Result<Proof, Error> {
    Proof::from_celestia_json(text, import(params(), Kind::Inclusion))
}

#[test]
fn json_is_read_as_json_is_written_by_anyone() {
    // 34 bytes: two labels of 4 and a digest of zeros.
    let node = "BAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let plain = format!("{{\"start\":1,\"end\":2,\"nodes\":[\"{node}\"]}}");
    let due = read_json(&plain).expect("proof");
    assert_eq!((due.start(), due.end(), due.nodes().count()), (1, 2, 1));
    for same in [
        format!(" {{ \"nodes\" : [ \"{node}\" ] ,\n\"end\":2 , \"start\" : 1\t}}\r\n"),
        format!("{{\"st\\u0061rt\":1,\"end\":2,\"nodes\":[\"{node}\"]}}"),
        format!(
            "{{\"start\":\"1\",\"end\":\"2\",\"nodes\":[\"{}\"]}}",
            node.replace('/', "\\/")
        ),
        format!(
            "{{\"start\":1,\"end\":2,\"nodes\":[\"{node}\"],\"leaf_hash\":null,\"is_max_namespace_ignored\":false}}"
        ),
        format!(
            "{{\"start\":1,\"end\":2,\"nodes\":[\"{node}\"],\"leaf_hash\":\"\",\"more\":[{{\"a\":[-1.5e3,null,true,\"\\n\\u20ac\"]}}, {{}}, []]}}"
        ),
    ] {
        assert_eq!(read_json(&same).as_ref(), Ok(&due), "{same}");
    }
    assert_eq!(
        read_json("{\"nodes\":null}").expect("proof").kind(),
        Kind::Empty
    );
}

#[test]
fn hostile_json_is_refused() {
    let node = "BAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
    let with = |node: &str| format!("{{\"start\":1,\"end\":2,\"nodes\":[\"{node}\"]}}");
    assert!(read_json(&with(node)).is_ok());
    let many = format!("\"{node}\",").repeat(129);
    for text in [
        String::new(),
        "null".into(),
        "[]".into(),
        "{".into(),
        "{}x".into(),
        "{\"end\":1,}".into(),
        "{\"end\":-1}".into(),
        "{\"end\":1.0}".into(),
        "{\"end\":1e3}".into(),
        "{\"end\":01}".into(),
        "{\"end\":\"1}".into(),
        "{\"end\":true}".into(),
        "{\"end\":4611686018427387905}".into(),
        "{\"end\":99999999999999999999999}".into(),
        "{\"end\":1,\"end\":1}".into(),
        "{\"end\":1,\"nodes\":{}}".into(),
        "{\"end\":1,\"nodes\":[null]}".into(),
        "{\"end\":1,\"is_max_namespace_ignored\":1}".into(),
        format!("{{\"end\":1,\"nodes\":[{}]}}", many.trim_end_matches(',')),
        format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        with(""),
        with(node.trim_end_matches('=')),
        with(&node.replace("==", "A=")),
        with(&node.replace("A==", "B==")),
        with(&format!("{node}AAAA")),
        with(&node.replacen('A', "-", 1)),
        with(&node.replacen('A', "\\n", 1)),
        with(&node.replacen("AAAA", "", 1)),
        with(&node.replacen("AAAA", "A==A", 1)),
        with(&"A".repeat(1_000_000)),
    ] {
        let found = read_json(&text);
        assert!(
            matches!(found, Err(Error::ProofFormat(_))),
            "{found:?} {text:.60}"
        );
    }
}

fn read_protobuf(text: &str) -> Result<Proof, Error> {
    Proof::from_celestia_protobuf(&unhex(text), import(params(), Kind::Inclusion))
}

#[test]
fn protobuf_is_read_by_its_rules() {
    let node = format!("1a220404{}", "00".repeat(32));
    let due = read_protobuf(&format!("08011002{node}")).expect("proof");
    assert_eq!((due.start(), due.end(), due.nodes().count()), (1, 2, 1));
    for same in [
        // Any order; the last of several; numbers longer than they need to be.
        format!("{node}10020801"),
        format!("080908011002{node}"),
        format!("08818000100228 00{node}").replace(' ', ""),
        // Unknown fields of every wire type, groups within groups.
        format!("08011002{node}3007 3901020304050607 08 4202ffff 4d01020304").replace(' ', ""),
        format!("08011002{node}33 3b 3007 3c 34").replace(' ', ""),
        // No leaf hash is an empty one.
        format!("08011002{node}2200"),
    ] {
        assert_eq!(read_protobuf(&same).as_ref(), Ok(&due), "{same}");
    }
    assert_eq!(read_protobuf("").expect("proof").kind(), Kind::Empty);
    for text in [
        "08".into(),
        "0801".into(),
        "10".into(),
        "1080".into(),
        "10ffffffffffffffffff01".into(),
        "10ffffffffffffffffffff01".into(),
        "10ffffffffffffffffff7f".into(),
        "12020102".into(),
        "0a0101".into(),
        "1a".into(),
        "1a05".into(),
        "1affffffffffffffffff01".into(),
        "10011a0101".into(),
        "10012203010203".into(),
        "0001".into(),
        "1007 36".replace(' ', ""),
        "1001 37".replace(' ', ""),
        "1001 34".replace(' ', ""),
        "1001 33".replace(' ', ""),
        "1001 33 3c".replace(' ', ""),
        format!("1001{}{}", "33".repeat(40), "34".repeat(40)),
        format!("1001{}", node.repeat(129)),
        format!("08011002{}", node.replace("0404", "0504")),
    ] {
        let found = read_protobuf(&text);
        assert!(
            matches!(found, Err(Error::ProofFormat(_))),
            "{found:?} {text:.60}"
        );
    }
}

#[test]
fn an_import_names_a_kind_of_leaves() {
    for kind in [Kind::Absence, Kind::Empty] {
        let found = Proof::from_celestia_json("{\"end\":1}", import(params(), kind));
        assert!(matches!(found, Err(Error::InvalidInput(_))));
    }
}

proptest! {
    #[test]
    fn proofs_survive_both_encodings(naive in small_trees()) {
        let tree = tree_of(naive.params, &naive.leaves);
        let width = naive.params.ns_size();
        for place in 0..=18 {
            let mut ns = vec![0; width];
            ns[width - 1] = place;
            let proof = tree.prove_namespace(&ns, false).unwrap();
            let import = import(naive.params, Kind::Namespace);
            // Of a proof that says nothing the flag is all there is to say.
            let bytes = proof.to_celestia_protobuf();
            prop_assert_eq!(&Proof::from_celestia_protobuf(&bytes, import).unwrap(), &proof);
            let text = proof.to_celestia_json();
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(value.to_string().len(), text.len());
            prop_assert_eq!(&Proof::from_celestia_json(&text, import).unwrap(), &proof);
        }
    }

    #[test]
    fn changed_encodings_are_read_or_refused(
        naive in small_trees(),
        changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..4),
    ) {
        let tree = tree_of(naive.params, &naive.leaves);
        let ns = vec![0; naive.params.ns_size()];
        let proof = tree.prove_namespace(&ns, false).unwrap();
        let import = import(naive.params, Kind::Inclusion);
        let mut bytes = proof.to_celestia_protobuf();
        let mut text = proof.to_celestia_json().into_bytes();
        for (at, value) in changes {
            for bytes in [&mut bytes, &mut text] {
                if !bytes.is_empty() {
                    let at = usize::from(at) % bytes.len();
                    bytes[at] = value;
                }
            }
        }
        for found in [
            Proof::from_celestia_protobuf(&bytes, import),
            Proof::from_celestia_json(&String::from_utf8_lossy(&text), import),
        ] {
            prop_assert!(matches!(found, Ok(_) | Err(Error::ProofFormat(_))));
        }
    }
}

#[test]
fn the_naive_rule_has_the_hashes_of_the_trees() {
    for hash in HASHES {
        assert_eq!(
            nmt_naive::hash(hash, b"abc"),
            shardpack::hash::digest(hash, b"abc")
        );
    }
}
