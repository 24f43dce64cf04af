//! Proofs of namespaced Merkle trees: decoded, written again, verified; in Celestia's encodings too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardpack::{
    hash::Algorithm,
    nmt::{Kind, Params, Pins, Proof, celestia::Import, verify, verify_namespace, verify_range},
    pool::Cancel,
};

/// Namespaces of these bytes are asked for.
const WIDTH: usize = 1;

fuzz_target!(|bytes: &[u8]| {
    let cancel = Cancel::new();
    let params = Params::new(Algorithm::Sha256, WIDTH, false).expect("parameters");
    // The root of two leaves that no fuzzer finds a proof for.
    let root = [[3; 2 * WIDTH].as_slice(), &[7; 32]].concat();
    assert!(root.len() == params.node_len());
    for pins in [
        Pins::default(),
        Pins {
            hash: Some(Algorithm::Sha256),
            size: Some(5),
            ignore_max: Some(false),
        },
    ] {
        let leaves: &[&[u8]] = &[b"a", b"b"];
        assert!(!verify(bytes, b"a", &[3], &root, pins, &cancel).expect("answer"));
        assert!(!verify_range(bytes, leaves, &[3], &root, pins, &cancel).expect("answer"));
        assert!(!verify_namespace(bytes, leaves, &[3], &root, pins, &cancel).expect("answer"));
    }
    if let Ok(proof) = Proof::from_bytes(bytes) {
        assert_eq!(proof.to_bytes(), bytes);
    }
    let import = Import {
        params,
        force: false,
        kind: Kind::Namespace,
    };
    let read = [
        Proof::from_celestia_protobuf(bytes, import).ok(),
        std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| Proof::from_celestia_json(text, import).ok()),
    ];
    for proof in read.into_iter().flatten() {
        let again = Proof::from_celestia_protobuf(&proof.to_celestia_protobuf(), import);
        assert_eq!(again.as_ref(), Ok(&proof));
        let again = Proof::from_celestia_json(&proof.to_celestia_json(), import);
        assert_eq!(again.as_ref(), Ok(&proof));
        assert_eq!(Proof::from_bytes(&proof.to_bytes()).as_ref(), Ok(&proof));
    }
});
