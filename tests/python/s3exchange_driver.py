"""Runs the real ``s3exchange`` against a server: the other side of the tests of interchange.

It is a program of its own because the package needs a newer Python than the tests do:
``python s3exchange_driver.py ENDPOINT BUCKET COMMAND [ARGUMENT...]``. What it finds goes to its
output as JSON. The credentials are those of the environment.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MEMBERS = [
    ("a.txt", b"first member\n"),
    ("deep/er/b.bin", bytes(range(256)) * 20),
    ("empty", b""),
    ("gr\u00fc\u00dfe/\u00fc.txt", "Gr\u00fc\u00dfe\n".encode()),
    ("x" * 120 + "/" + "y" * 120, b"a path that needs a longer header"),
]


def open_store(endpoint: str, bucket: str) -> Any:
    import boto3
    from botocore.config import Config
    from s3exchange import S3ExchangeStore

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    return S3ExchangeStore(client, bucket)


def populate(store: Any) -> dict[str, Any]:
    """Write one of everything: objects, shards plain and packed, manifests flat and in parts."""
    files = [
        store.put_object(f"loose/{i}.txt", f"object {i}\n".encode() * i, meta={"i": i})
        for i in range(5)
    ]
    items = [
        {"source": data, "member_path": path, "id": f"id-{path[:8]}", "meta": {"n": len(data)}}
        for path, data in MEMBERS
    ]
    plain = store.put_shard_archive("shards/plain.tar", items, compression=None)
    packed = store.put_shard_archive("shards/packed.tar.gz", items, compression="gzip")
    store.write_manifest("sets/flat.jsonl", [*files[:2], plain.entry])
    for entry in (files[0], plain.entry, files[1], packed.entry):
        store.write_manifest("sets/appended/manifest.jsonl", [entry], mode="append_parts")
    with store.open_manifest_writer("sets/parts/manifest.jsonl", part_max_entries=2) as writer:
        for entry in files:
            writer.add_entry(entry)
        writer.add_manifest("sets/flat.jsonl")
    return {name: contents(store, name) for name in MANIFESTS}


MANIFESTS = ("sets/flat.jsonl", "sets/appended/manifest.jsonl", "sets/parts/manifest.jsonl")


def contents(store: Any, manifest_key: str) -> list[list[Any]]:
    """What iterating a manifest gives: key, id, metadata, length and digest of each object."""
    return [
        described(entry["key"], entry, body.read())
        for body, entry in store.iter_objects(manifest_key)
    ]


def described(key: str, entry: dict[str, Any], data: bytes) -> list[Any]:
    return [key, entry.get("id"), entry.get("meta"), len(data), hashlib.sha256(data).hexdigest()]


def entries(store: Any, *manifest_keys: str) -> list[list[Any]]:
    """The entries of manifests, references followed."""
    return [list(store.iter_manifest_entries(key)) for key in manifest_keys]


def survey(store: Any, manifest_key: str, *keys: str) -> dict[str, Any]:
    """What a manifest gives, what its listing says, and what virtual keys give."""
    members = []
    for key in keys:
        data = store.get_object(key).read()
        members.append([key, len(data), hashlib.sha256(data).hexdigest()])
    return {
        "contents": contents(store, manifest_key),
        "listed": [entry["key"] for entry in store.list_manifest_files(manifest_key)],
        "members": members,
    }


def append(store: Any, manifest_key: str, *keys: str) -> int:
    """Append one entry for each key, each with an append of its own."""
    for key in keys:
        entry = {"kind": "file", "key": key, "id": "theirs"}
        store.write_manifest(manifest_key, [entry], mode="append_parts")
    return len(keys)


def signatures(store: Any) -> dict[str, list[list[Any]]]:
    """What each public call takes: the name, the kind, and whether it may be left out."""
    import s3exchange

    calls: dict[str, Any] = {"S3Settings": s3exchange.S3Settings}
    for name in s3exchange.__all__:
        value = getattr(s3exchange, name)
        if inspect.isfunction(value):
            calls[name] = value
        if not inspect.isclass(value):
            continue
        for called, call in inspect.getmembers(value, inspect.isroutine):
            # Not what they inherit from other packages.
            if not str(getattr(call, "__module__", "")).startswith("s3exchange"):
                continue
            if called == "__init__":
                calls[name] = value
            elif not called.startswith("_"):
                calls[f"{name}.{called}"] = call
    del store
    return {
        name: [
            [parameter.name, parameter.kind.name, parameter.default is not parameter.empty]
            for parameter in inspect.signature(call).parameters.values()
            if not parameter.name.startswith("_")
        ]
        for name, call in calls.items()
    }


COMMANDS: dict[str, Callable[..., Any]] = {
    "populate": populate,
    "entries": entries,
    "survey": survey,
    "append": append,
    "signatures": signatures,
}

if __name__ == "__main__":
    endpoint, bucket, command, *arguments = sys.argv[1:]
    json.dump(COMMANDS[command](open_store(endpoint, bucket), *arguments), sys.stdout)
