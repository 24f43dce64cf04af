//! How an object is to be read: its metadata before its first bytes, and metadata held to the object.

use shardpack::{
    Error,
    checksum::crc32c,
    codec::CpuZstd,
    frame::{
        index::Index,
        object::{decode_range, key},
        write::write_frame,
    },
    pool::Cancel,
};

use crate::{
    object::{decode, decode_with, metadata, owned},
    vectors::{class_of, compress, decoding, make, unhex},
};

#[test]
fn metadata_decide_before_the_first_bytes_do() {
    let frame = write_frame(&CpuZstd::new(3, false), b"inner", &Cancel::new()).unwrap();
    let padded = [&b"S4P1\0\0\0\0\0\0\0\0"[..], &frame].concat();
    let plain = [("s4-codec", "passthrough")];
    for body in [&frame[..], &padded, b"S4E1 and more", b"S4E6", b""] {
        assert_eq!(decode(body, &plain).unwrap(), body);
    }
    for framed in [
        &[][..],
        &[("s4-codec", "cpu-zstd")],
        &[("s4-codec", "of the future")],
    ] {
        assert_eq!(decode(&frame, framed).unwrap(), b"inner", "{framed:?}");
        assert_eq!(decode(&padded, framed).unwrap(), b"inner", "{framed:?}");
    }
    for key in ["s4-framed", "s4-multipart"] {
        assert_eq!(
            decode(&frame, &[(key, "true"), ("s4-codec", "passthrough")]).unwrap(),
            b"inner"
        );
        let refused = decode(b"no frames here, but enough bytes", &[(key, "true")]);
        assert!(matches!(refused, Err(Error::Frame(_))), "{refused:?}");
        // Only the exact word counts.
        for value in ["True", "1", "false", ""] {
            assert_eq!(
                decode(&frame, &[(key, value), ("s4-codec", "passthrough")]).unwrap(),
                frame
            );
        }
    }
    for body in [
        &b""[..],
        b"S",
        b"S4",
        b"S4F",
        b"S4F1....",
        b"S4E",
        b"S4E0",
        b"S4E7 and more",
        b"some text",
    ] {
        assert_eq!(decode(body, &[]).unwrap(), body);
    }
}

#[test]
fn encrypted_objects_are_refused_by_any_sign_of_it() {
    for number in 1..=6 {
        let envelope = format!("S4E{number} and more");
        let refused = decode(envelope.as_bytes(), &[]);
        assert!(
            matches!(refused, Err(Error::Encrypted { .. })),
            "{refused:?}"
        );
    }
    for value in ["aes-256-gcm", "x"] {
        for codec in ["passthrough", "cpu-zstd"] {
            let refused = decode(b"data", &[("S4-Encrypted", value), ("s4-codec", codec)]);
            assert!(
                matches!(refused, Err(Error::Encrypted { .. })),
                "{refused:?}"
            );
        }
    }
    assert_eq!(decode(b"data", &[("s4-encrypted", "")]).unwrap(), b"data");
    let mut block = unhex("5334495803000000000000000000000000000000000000000000000000000000");
    block.extend([[0; 12].as_slice(), &[1, 0, 0, 0], &[1, 0, 0, 0], &[0; 22]].concat());
    let index = Index::decode(&block).unwrap();
    let pairs = owned(&[("s4-codec", "passthrough")]);
    let refused = decode_with(b"data", &pairs, Some(&index), decoding());
    assert!(
        matches!(refused, Err(Error::Encrypted { .. })),
        "{refused:?}"
    );
    for range in [(0, 0), (0, 4)] {
        let refused = decode_range(&metadata(&pairs), b"data", Some(&index), range, decoding());
        assert!(
            matches!(refused, Err(Error::Encrypted { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn metadata_that_cannot_be_right_are_refused_with_their_key() {
    let plain = make("lines", "a", 300);
    let body = compress(&CpuZstd::new(3, false), &plain);
    let (stored, crc) = (body.len().to_string(), crc32c(&plain, 0).to_string());
    let right = [
        ("s4-codec", "cpu-zstd"),
        ("s4-original-size", "300"),
        ("s4-compressed-size", stored.as_str()),
        ("s4-crc32c", crc.as_str()),
    ];
    let upper = right.map(|(key, value)| (key.to_uppercase(), value.to_owned()));
    assert_eq!(decode_with(&body, &upper, None, decoding()).unwrap(), plain);
    assert_eq!(
        decode(&body, &[&right[..], &[("s4-of-the-future", "x")]].concat()).unwrap(),
        plain
    );
    let with = |changed: &str, value: Option<&'static str>| {
        let pairs: Vec<_> = right
            .into_iter()
            .filter_map(|(key, old)| Some((key, if key == changed { value? } else { old })))
            .collect();
        decode(&body, &pairs)
    };
    // Without a codec it is no object of S4, whatever the other keys say.
    assert_eq!(with("s4-codec", None).unwrap(), body);
    for (changed, value) in [
        ("s4-codec", Some("CPU-ZSTD")),
        ("s4-codec", Some("")),
        ("s4-original-size", None),
        ("s4-original-size", Some("")),
        ("s4-original-size", Some("+300")),
        ("s4-original-size", Some(" 300")),
        ("s4-original-size", Some("300.0")),
        ("s4-original-size", Some("18446744073709551616")),
        ("s4-compressed-size", None),
        ("s4-compressed-size", Some("-1")),
        ("s4-crc32c", None),
        ("s4-crc32c", Some("0x10")),
        ("s4-crc32c", Some("4294967296")),
    ] {
        match with(changed, value) {
            Err(Error::Metadata { key, .. }) => assert_eq!(key, changed),
            other => panic!("{changed} {value:?}: {other:?}"),
        }
    }
    let expected = Error::SizeMismatch {
        expected: 301,
        actual: 300,
    };
    assert_eq!(with("s4-original-size", Some("301")), Err(expected));
    let refused = with("s4-original-size", Some("299"));
    assert_eq!(
        refused,
        Err(Error::Bomb {
            codec: "cpu-zstd",
            claimed: 299
        })
    );
    let expected = Error::ManifestSizeMismatch {
        key: key::COMPRESSED_SIZE,
        expected: 7,
        actual: body.len() as u64,
    };
    assert_eq!(with("s4-compressed-size", Some("7")), Err(expected));
    let expected = Error::CrcMismatch {
        expected: 7,
        actual: crc32c(&plain, 0),
    };
    assert_eq!(with("s4-crc32c", Some("7")), Err(expected));
    assert_eq!(
        with("s4-codec", Some("nvcomp-gans")).map_err(|error| class_of(&error)),
        Err("UnsupportedCodecError")
    );
}

#[test]
fn a_long_value_makes_no_long_message() {
    let value = "9".repeat(100_000);
    let refused = decode(
        b"data",
        &[("s4-codec", "cpu-zstd"), ("s4-original-size", &value)],
    );
    assert!(refused.unwrap_err().to_string().len() < 200);
}

#[test]
fn framed_and_plain_objects_are_held_to_their_metadata() {
    let plain = make("lines", "a", 300);
    let frame = write_frame(&CpuZstd::new(3, false), &plain, &Cancel::new()).unwrap();
    let actual = crc32c(&plain, 0);
    let right = actual.to_string();
    for (body, kind) in [
        (&frame, [("s4-framed", "true")]),
        (&plain, [("s4-codec", "passthrough")]),
    ] {
        let with = |pair| decode(body, &[kind[0], pair]);
        assert_eq!(with(("s4-crc32c", &right)).unwrap(), plain);
        assert_eq!(
            with(("s4-crc32c", "7")),
            Err(Error::CrcMismatch {
                expected: 7,
                actual
            })
        );
        // The body says what it is; a number that cannot be read says nothing.
        assert_eq!(with(("s4-crc32c", "x")).unwrap(), plain);
        assert_eq!(with(("s4-compressed-size", "x")).unwrap(), plain);
        let expected = Error::ManifestSizeMismatch {
            key: key::ORIGINAL_SIZE,
            expected: 299,
            actual: 300,
        };
        assert_eq!(with(("s4-original-size", "299")), Err(expected));
        assert!(matches!(
            with(("s4-compressed-size", "1")),
            Err(Error::ManifestSizeMismatch { .. })
        ));
    }
}

#[test]
fn dictionary_ids_are_held_to_their_shape() {
    let id = |value: &str| {
        metadata(&owned(&[("s4-dict-id", value)]))
            .dict_id()
            .map(|id| id.map(str::to_owned))
    };
    assert_eq!(id("2146108d12676334"), Ok(Some("2146108d12676334".into())));
    assert_eq!(metadata(&[]).dict_id(), Ok(None));
    for value in ["", "2146108D12676334", "../../etc/passwd"] {
        assert!(matches!(id(value), Err(Error::Metadata { .. })), "{value}");
    }
}
