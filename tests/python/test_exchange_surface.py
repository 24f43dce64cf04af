"""Every call that `s3exchange` 0.1.1 documents is here, under its name, with its arguments."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

import shardpack
from exchange_stores import fresh_memory
from shardpack import exchange
from shardpack.errors import S3ExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = [
    "S3ExchangeStore",
    "ScopedStore",
    "Manifest",
    "Shard",
    "ManifestWriter",
    "ArchiveMemberBody",
    "S3Settings",
    "ManifestEntry",
    "ManifestRef",
    "FileEntry",
    "ShardEntry",
    "ManifestRefEntry",
    "ShardItem",
    "ShardSizePolicy",
    "ManifestWriterConfig",
    "StreamingBodyLike",
    "DeleteReport",
    "CompactReport",
    "S3ExchangeError",
    "MissingPlaceholderError",
    "InvalidManifestError",
    "ShardReadError",
    "ObjectNotFoundError",
    "ManifestNotFoundError",
    "normalize_key",
    "resolve_template",
    "infer_id_from_key",
]

# What stands after "*" may be given by name only, before it by position too. What we have besides
# has a default and comes after.
STORE = """
    __init__(s3_client_or_settings, bucket=None, *, base_prefix='', default_vars=None, infer_id=None)
    scope(**vars)
    is_manifest(key)
    is_shard(key)
    get_manifest(key)
    get_shard(key)
    get_object(key, *, version_id=None, resolve_virtual_keys=True)
    get_object_metadata(key)
    exists(key)
    download_object(key, local_path)
    download_objects(keys, local_dir)
    iter_manifest_entries(manifest, *, resolve_refs=True, limit=None)
    iter_objects(manifest, *, expand_shards=True, limit=None)
    get_objects(manifest)
    iter_objects_from_keys(keys, *, limit=None)
    list_manifest_files(manifest, *, include_shards=True)
    list_by_manifest_prefix(manifest, prefix_filter)
    put_object(key, data, *, id=None, meta=None, content_type=None)
    write_manifest(key, entries, *, mode='overwrite')
    put_shard_archive(archive_key, shard_items, *, format='tar', compression='gzip', internal_manifest_path='__manifest__.jsonl')
    put_sharded(manifest_key, shard_entries, *, update_mode='append_parts')
    open_manifest_writer(manifest_key, *, mode='append_parts', part_max_entries=50000, part_max_bytes=52428800, shard_size=None, shard_prefix=None, shard_format='tar', shard_compression=None, internal_manifest_path='__manifest__.jsonl', publish_on_error=False)
    delete_key(key)
    delete_prefix(prefix, *, regex=None, batch_size=1000)
    delete_manifest(manifest, *, delete_manifests=True, dedupe=True)
    list_keys(prefix)
    compact_manifest(src_manifest_key, dst_manifest_key, *, resolve_refs=True, apply_deletes=True, expand_shards=False)
    _resolve_key(template, vars=None)
"""  # noqa: E501 - one call a line
MANIFEST = """
    __init__(store, *, key=None, entries=None)
    from_key(store, key)
    from_entries(store, entries)
    from_ref(store, ref)
    iter_entries(resolve_refs=True, limit=None)
    iter_objects(expand_shards=True, limit=None)
    get_keys(*, expand_shards=True, resolve_refs=True, limit=None)
    list_files(include_shards=True)
    filter_by_prefix(prefix)
    save(entries=None, *, mode='overwrite')
    delete(*, delete_manifests=True, dedupe=True)
    compact(dst_key, *, resolve_refs=True, expand_shards=False)
    parse_line(line, line_number=None)
    iter_lines(stream, limit=None)
    serialize_entry(entry)
    write_to_s3(s3_client, bucket, key, entries)
    read_from_s3(s3_client, bucket, key)
    generate_part_key(base_key)
"""
SHARD = """
    __init__(store, entry)
    from_key(store, key)
    from_entry(store, entry)
    get_manifest()
    iter_entries(limit=None)
    iter_objects(limit=None)
    get_member(member_path)
    delete()
    infer_archive_format(archive_key)
    create_archive(shard_items, archive_key, *, format, compression, internal_manifest_path, use_temp_file=True, temp_file_threshold=104857600)
    split_items(items, *, max_entries=None, max_bytes=None)
"""  # noqa: E501 - one call a line
WRITER = """
    add_entry(entry)
    add_file(key, *, id, meta, content_type, size_bytes, etag)
    add_manifest(key)
    put_object(key, data)
    flush_part()
    add_shard_item(item)
    add_to_shard(member_path, source, *, id, meta, size_bytes, content_type)
    flush_shard()
    close()
    stats()
"""
SCOPE = """
    key(template, **vars)
    manifest_key(name)
    shard_prefix(name)
"""
BODY = """
    __init__(fileobj, archive_stream=None)
    read(amt=None)
    readinto(b)
    close()
    iter_lines(chunk_size=None, limit=None)
"""
POLICY = "__init__(max_entries=None, max_bytes=None)"
SETTINGS = """
    __init__(*, endpoint_url, region, bucket, aws_access_key_id, aws_secret_access_key)
    create_client()
"""
CALLS = [
    (owner, line.strip())
    for owner, table in {
        exchange.S3ExchangeStore: STORE,
        exchange.Manifest: MANIFEST,
        exchange.Shard: SHARD,
        exchange.ManifestWriter: WRITER,
        exchange.ScopedStore: SCOPE,
        exchange.ArchiveMemberBody: BODY,
        exchange.ShardSizePolicy: POLICY,
        exchange.S3Settings: SETTINGS,
    }.items()
    for line in table.strip().splitlines()
]
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_BY_NAME = inspect.Parameter.KEYWORD_ONLY
_REST = inspect.Parameter.VAR_KEYWORD


def documented(call: str) -> list[inspect.Parameter]:
    scope: dict[str, Any] = {}
    # A name without default after the star has one in the package; the tables leave it out.
    exec(f"def {_with_defaults(call)}: ...", scope)
    function: Callable[..., Any] = scope[call.partition("(")[0]]
    return list(inspect.signature(function).parameters.values())


def _with_defaults(call: str) -> str:
    before, star, after = call.partition("*, ")
    if not star:
        return call
    names = after.rstrip(")").split(", ")
    return before + star + ", ".join(n if "=" in n else f"{n}=..." for n in names) + ")"


@pytest.mark.parametrize(
    ("owner", "call"),
    CALLS,
    ids=[f"{owner.__name__}.{call.partition('(')[0]}" for owner, call in CALLS],
)
def test_a_documented_call_takes_its_arguments(owner: type, call: str) -> None:
    name = call.partition("(")[0]
    found = list(inspect.signature(getattr(owner, name)).parameters.values())
    found = found[1:] if found and found[0].name == "self" else found
    ours = {parameter.name: parameter for parameter in found}
    for position, wanted in enumerate(documented(call)):
        assert wanted.name in ours, f"there is no {wanted.name}"
        check(ours.pop(wanted.name), wanted)
        if wanted.kind is _POSITIONAL:
            assert found[position].name == wanted.name
    for parameter in ours.values():
        # What we have besides.
        assert parameter.default is not inspect.Parameter.empty or parameter.kind is _REST


def check(ours: inspect.Parameter, wanted: inspect.Parameter) -> None:
    if wanted.kind is _BY_NAME:
        assert ours.kind in (_BY_NAME, _POSITIONAL)
    else:
        assert ours.kind is wanted.kind
    if wanted.default is ...:
        assert ours.default is not inspect.Parameter.empty
    elif wanted.default is not inspect.Parameter.empty:
        assert ours.default == wanted.default


def test_all_names_are_there() -> None:
    for name in NAMES:
        assert getattr(exchange, name) is not None
        assert name in exchange.__all__
        assert name in dir(exchange)
    with pytest.raises(AttributeError, match="nothing"):
        _ = exchange.nothing
    assert shardpack.S3ExchangeStore is exchange.S3ExchangeStore


def test_stores_of_all_kinds_have_the_same_calls() -> None:
    for call in STORE.strip().splitlines():
        name = call.strip().partition("(")[0]
        assert callable(getattr(exchange.ExchangeStore, name))


def test_entries_and_reports_have_their_fields() -> None:
    fields = {
        exchange.FileEntry: "kind key id meta content_type size_bytes etag member_path archive_key",
        exchange.ShardEntry: "kind archive_key format compression internal_manifest_path count"
        " size_bytes meta",
        exchange.ManifestRefEntry: "kind key",
        exchange.ShardItem: "source member_path id meta size_bytes",
        exchange.DeleteReport: "deleted_object_count deleted_archive_count"
        " deleted_manifest_count errors",
        exchange.ManifestWriterConfig: "mode part_max_entries part_max_bytes publish_on_error"
        " dedupe_virtual_keys",
        exchange.CompactReport: "total_entries removed_entries resolved_refs expanded_shards",
    }
    for kind, names in fields.items():
        told = set(inspect.get_annotations(kind)) | {
            name for base in getattr(kind, "__orig_bases__", ()) for name in _fields_of(base)
        }
        assert set(names.split()) <= told, kind


def _fields_of(kind: Any) -> set[str]:
    return set(getattr(kind, "__annotations__", ()))


def test_exceptions_carry_what_they_are_about() -> None:
    missing = exchange.MissingPlaceholderError("name", "{name}/x")
    assert (missing.placeholder, missing.template) == ("name", "{name}/x")
    assert exchange.InvalidManifestError("no", 7).line_number == 7
    assert str(exchange.InvalidManifestError("no", 7)).startswith("Line 7: no")
    assert exchange.InvalidManifestError("no").line_number is None
    assert exchange.ObjectNotFoundError("a").key == "a"
    assert exchange.ManifestNotFoundError("a").key == "a"
    for kind in (
        exchange.MissingPlaceholderError,
        exchange.InvalidManifestError,
        exchange.ShardReadError,
        exchange.ObjectNotFoundError,
        exchange.ManifestNotFoundError,
    ):
        assert issubclass(kind, S3ExchangeError)
    assert str(exchange.ShardReadError("broken")) == "broken"
    damaged = exchange.ShardReadError("broken", "a.tar", "m/1", 512)
    assert (damaged.key, damaged.member, damaged.offset) == ("a.tar", "m/1", 512)
    exchange.ShardReadError()


def test_calls_give_what_they_document(tmp_path: Path) -> None:
    store = fresh_memory()
    entry = store.put_object("a/x.bin", b"data")
    fields = ["kind", "key", "id", "meta", "content_type", "size_bytes", "etag"]
    assert list(entry)[:7] == fields
    assert (entry["kind"], entry["id"], entry["size_bytes"]) == ("file", "x", 4)
    items: Any = [{"source": b"1", "member_path": "m/1"}, {"source": b"22", "member_path": "m/2"}]
    shard = store.put_shard_archive("a/s.tar.gz", items)
    assert isinstance(shard, exchange.Shard)
    fields = ["kind", "archive_key", "format", "compression", "internal_manifest_path", "count"]
    assert list(shard.entry)[:8] == [*fields, "size_bytes", "meta"]
    store.write_manifest("a/manifest.jsonl", [entry])
    store.put_sharded("a/manifest.jsonl", [shard.entry])
    assert isinstance(store.get_manifest("a/manifest.jsonl"), exchange.Manifest)
    assert isinstance(store.get_manifest("a/s.tar.gz"), exchange.Manifest)
    assert isinstance(store.get_shard("a/s.tar.gz"), exchange.Shard)
    body = store.get_object("a/s.tar.gz#m/2")
    assert isinstance(body, exchange.ArchiveMemberBody)
    assert body.read() == b"22"
    head = store.get_object_metadata("a/x.bin")
    assert (head["ContentLength"], head["ETag"][:1]) == (4, '"')
    assert store.exists("a/x.bin") is True
    assert store.exists("nothing") is False
    assert store.download_object("a/x.bin", tmp_path / "x") == tmp_path / "x"
    assert store.download_objects(["a/x.bin"], str(tmp_path)) == {"a/x.bin": tmp_path / "x.bin"}
    both = list(store.iter_manifest_entries("a/manifest.jsonl"))
    assert [each["kind"] for each in both] == ["file", "shard"]
    pairs = [(body.read(), each["kind"]) for body, each in store.get_objects("a/manifest.jsonl")]
    assert pairs == [(b"data", "file"), (b"1", "file"), (b"22", "file")]
    listed = [each.get("key") for each in store.list_manifest_files("a/manifest.jsonl")]
    assert listed == ["a/x.bin", "a/s.tar.gz#m/1", "a/s.tar.gz#m/2"]
    assert set(store.list_keys("a/x")) == {"a/x.bin"}
    with store.open_manifest_writer("a/manifest.jsonl") as writer:
        assert isinstance(writer, exchange.ManifestWriter)
        assert writer.add_manifest("a/other.jsonl") == {
            "kind": "manifest_ref",
            "key": "a/other.jsonl",
        }
    store.write_manifest("a/other.jsonl", [])
    compacted = store.compact_manifest("a/manifest.jsonl", "a/flat.jsonl", expand_shards=True)
    assert set(compacted) == set(get_type_hints(exchange.CompactReport))
    assert (compacted["total_entries"], compacted["expanded_shards"]) == (3, 2)
    assert store.delete_prefix("a/flat") == 1
    report = store.delete_manifest("a/manifest.jsonl")
    assert set(report) == set(get_type_hints(exchange.DeleteReport))
    assert (report["deleted_object_count"], report["deleted_archive_count"]) == (1, 1)
    assert report["errors"] == {}
    assert list(store.list_keys("")) == []
    assert isinstance(store.scope(prefix="p"), exchange.ScopedStore)
