"""Members of archives under their virtual keys, and what they cost."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from exchange_stores import fresh_memory
from fault_proxy import Fault, FaultProxy
from inputs import KIB, make
from shardpack.errors import IntegrityError, ObjectNotFoundError, ShardReadError
from shardpack.exchange import ArchiveMemberBody, ExchangeStore, S3ExchangeStore
from shardpack.exchange.shard.index_cache import CACHE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import S3Server

COMPRESSIONS = {None: "tar", "gzip": "tar.gz", "zstd": "tar.zst", "s4": "tar.s4"}
MEMBERS = {
    "a.txt": b"first\nsecond\n",
    "empty": b"",
    "deep/er/noise.bin": make("noise", 300 * KIB),
    "with # sign": b"#",
    "z": make("lines", 70 * KIB),
}


def put_shard(store: ExchangeStore, key: str, compression: str | None) -> Any:
    items: list[Any] = [
        {"member_path": path, "source": data, "id": path[:1], "meta": {"n": len(data)}}
        for path, data in MEMBERS.items()
    ]
    return store.put_shard_archive(key, items, compression=compression)


def foreign_tar(mode: str, members: dict[str, bytes] = MEMBERS) -> bytes:
    """An archive as another program writes it: no manifest inside, no index beside it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for path, data in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def no_indexes_in_memory() -> None:
    CACHE.clear()


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_members_are_opened_by_their_keys(store: ExchangeStore, compression: str | None) -> None:
    key = f"shards/0.{COMPRESSIONS[compression]}"
    shard = put_shard(store, key, compression)
    assert shard.entry["count"] == len(MEMBERS)
    assert shard.compression == compression
    for path, data in MEMBERS.items():
        with store.get_object(f"{key}#{path}") as body:
            assert isinstance(body, ArchiveMemberBody)
            assert body.read() == data
        assert store.exists(f"{key}#{path}")
        head = store.head_object(f"{key}#{path}")
        assert head["ContentLength"] == len(data)
        assert set(head["Metadata"]) == {"crc32c", "blake3"}
        assert shard.get_member(path).read() == data
    for missing in (f"{key}#nope", f"{key}#a.txt/"):
        assert not store.exists(missing)
        with pytest.raises(ObjectNotFoundError) as caught:
            store.get_object(missing)
        assert caught.value.key == missing


@pytest.mark.parametrize(
    ("mode", "suffix"), [("w:", "tar"), ("w:gz", "tgz"), ("w:bz2", "tar.bz2"), ("w:xz", "tar.xz")]
)
def test_archives_of_other_programs_are_read_as_streams(
    store: ExchangeStore, mode: str, suffix: str
) -> None:
    key = f"theirs/0.{suffix}"
    store.put_object(key, foreign_tar(mode))
    for path, data in MEMBERS.items():
        assert store.get_object(f"{key}#{path}").read() == data
    assert store.head_object(f"{key}#z")["ContentLength"] == len(MEMBERS["z"])
    assert not store.exists(f"{key}#link"), "a link is no member"
    with pytest.raises(ObjectNotFoundError):
        store.get_object(f"{key}#link")
    with pytest.raises(ShardReadError, match="internal manifest not found"):
        store.get_shard(key).get_manifest()
    found = {entry["key"]: body.read() for body, entry in store.get_shard(key).iter_objects()}
    assert found == {f"{key}#{path}": data for path, data in MEMBERS.items()}


def test_a_member_body_has_the_calls_of_files(store: ExchangeStore) -> None:
    put_shard(store, "0.tar.gz", "gzip")
    body: Any = store.get_object("0.tar.gz#a.txt")
    assert list(body.iter_lines()) == [b"first\n", b"second\n"]
    assert body.seekable()
    assert body.seek(6) == body.tell() == 6
    assert body.read(amt=3) == b"sec"
    target = bytearray(100)
    assert body.readinto(target) == 4
    assert body.readinto(target) == 0
    assert body.seek(-3, io.SEEK_END) == 10
    assert list(body.iter_chunks(2)) == [b"nd", b"\n"]
    body.seek(0)
    assert list(body.iter_lines(chunk_size=1, limit=1)) == [b"first\n"]
    body.seek(0)
    assert b"".join(body) == MEMBERS["a.txt"]
    body.seek(0)
    assert body.readlines() == [b"first\n", b"second\n"]
    assert io.BufferedReader(store.get_object("0.tar.gz#a.txt")).readline() == b"first\n"
    body.close()
    with pytest.raises(ValueError, match="closed"):
        body.read()


def test_a_range_of_a_member_can_be_read(store: ExchangeStore) -> None:
    put_shard(store, "0.tar.gz", "gzip")
    store.put_object("theirs.tar", foreign_tar("w:"))
    data = MEMBERS["z"]
    for key in ("0.tar.gz#z", "theirs.tar#z"):
        assert store.get_object(key, start=5, end=5000).read() == data[5:5000]
        assert store.get_object(key, start=-9).read() == data[-9:]
        assert store.get_object(key, end=9).read() == data[:9]
        assert store.get_object(key, start=len(data) + 5).read() == b""
    with pytest.raises(ValueError, match="version"):
        store.get_object("0.tar.gz#z", version_id="1")


def test_the_body_class_takes_any_file_object() -> None:
    archive = io.BytesIO(b"archive")
    with ArchiveMemberBody(io.BytesIO(b"one\ntwo"), archive) as body:
        assert list(body.iter_lines()) == [b"one\n", b"two"]
        body.seek(0)
        assert body.read() == b"one\ntwo"
    assert archive.closed

    class Reader:
        """All that a file object may lack."""

        def __init__(self) -> None:
            self.left = b"abc"

        def read(self, size: int) -> bytes:
            piece, self.left = self.left[:size], self.left[size:] if size >= 0 else b""
            return piece if size >= 0 else b"abc"

        def close(self) -> None:
            pass

    with ArchiveMemberBody(Reader()) as body:
        assert not body.seekable()
        with pytest.raises(io.UnsupportedOperation):
            body.seek(0)
        target = bytearray(9)
        assert body.readinto(target) == 3


# --- what it costs --------------------------------------------------------------------------------


@pytest.fixture(params=["moto", "rclone"])
def watched(request: pytest.FixtureRequest) -> Iterator[tuple[S3ExchangeStore, FaultProxy]]:
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    with FaultProxy(server.endpoint_url) as proxy:
        client = server.client(proxy.url)
        yield S3ExchangeStore(client, server.fresh_bucket(client)), proxy
        client.close()


def big_members() -> dict[str, bytes]:
    return {f"{i:04d}.bin": make("noise", 20 * KIB, f"{i}") for i in range(400)}


def test_a_member_costs_its_chunks_and_the_index_once(
    watched: tuple[S3ExchangeStore, FaultProxy],
) -> None:
    store, proxy = watched
    members = big_members()
    items: list[Any] = [{"member_path": path, "source": data} for path, data in members.items()]
    shard = store.put_shard_archive("0.tar.gz", items)
    CACHE.clear()
    proxy.forget()
    assert store.get_object("0.tar.gz#0200.bin").read() == members["0200.bin"]
    assert proxy.count() <= 4
    cold = proxy.bytes_down
    assert cold < shard.entry["size_bytes"] / 8
    proxy.forget()
    assert store.get_object("0.tar.gz#0300.bin").read() == members["0300.bin"]
    assert proxy.count() == 1
    assert proxy.bytes_down < 2.2 * 512 * KIB
    proxy.forget()
    assert store.exists("0.tar.gz#0300.bin")
    assert proxy.count() == 1
    assert proxy.bytes_down < 2 * KIB


def test_listing_a_shard_reads_its_table_of_contents_alone(
    watched: tuple[S3ExchangeStore, FaultProxy],
) -> None:
    store, proxy = watched
    members = big_members()
    items: list[Any] = [{"member_path": path, "source": data} for path, data in members.items()]
    shard = store.put_shard_archive("0.tar.gz", items)
    CACHE.clear()
    proxy.forget()
    listed = list(store.list_manifest_files([shard.entry]))
    assert [entry.get("member_path") for entry in listed] == list(members)
    assert all(len(str(entry.get("blake3"))) == 64 for entry in listed)
    assert proxy.count() <= 3
    assert proxy.bytes_down < shard.entry["size_bytes"] / 8


def test_an_object_costs_one_request_to_put(watched: tuple[S3ExchangeStore, FaultProxy]) -> None:
    store, proxy = watched
    store.put_object("first", b"x")
    proxy.forget()
    entry = store.put_object("second", b"12345")
    assert proxy.count() == 1
    assert entry["etag"]
    assert entry["size_bytes"] == 5


def test_a_connection_that_breaks_is_no_missing_member(
    watched: tuple[S3ExchangeStore, FaultProxy],
) -> None:
    store, proxy = watched
    put_shard(store, "404/0.tar.gz", "gzip")
    CACHE.clear()
    proxy.faults.append(Fault(method="GET", cut_after=50))
    assert store.get_object("404/0.tar.gz#z").read() == MEMBERS["z"]
    store.put_object("plain", MEMBERS["z"])
    proxy.faults.append(Fault(method="GET", path="plain", cut_after=20_000))
    assert store.get_object("plain").read() == MEMBERS["z"]


# --- archives that are not what they should be ----------------------------------------------------


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_truncated_archive_is_told_and_not_taken_for_a_missing_member(suffix: str) -> None:
    store = fresh_memory()
    data = foreign_tar("w:" if suffix == "tar" else "w:gz")
    store.put_object(f"cut.{suffix}", data[: len(data) // 2])
    with pytest.raises(ShardReadError) as caught:
        store.get_object(f"cut.{suffix}#z").read()
    assert caught.value.key == f"cut.{suffix}"
    for call in (
        lambda: list(
            store.list_manifest_files([{"kind": "shard", "archive_key": f"cut.{suffix}"}])
        ),
        lambda: list(store.iter_objects_from_keys([f"cut.{suffix}#z"])),
        lambda: store.exists(f"cut.{suffix}#z"),
        lambda: list(store.get_shard(f"cut.{suffix}").iter_objects()),
    ):
        with pytest.raises(ShardReadError):
            call()


def test_an_archive_that_lost_members_at_a_border_is_not_complete() -> None:
    store = fresh_memory()
    entry = put_shard(store, "0.tar", None).entry
    whole = store.get_object("0.tar").read()
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        border = archive.getmember("z").offset
    store.put_object("0.tar", whole[:border])
    bare: Any = {"kind": "shard", "archive_key": "0.tar", "compression": None}
    for told in (entry, bare):
        with pytest.raises((ShardReadError, IntegrityError)):
            list(store.iter_objects([told]))


def test_a_bit_that_flips_on_the_way_is_read_again_and_one_that_stays_is_told(
    watched: tuple[S3ExchangeStore, FaultProxy],
) -> None:
    store, proxy = watched
    shard = put_shard(store, "0.tar", None)
    key = "0.tar#deep/er/noise.bin"
    flipped = Fault(method="GET", path=r"/0\.tar($|\?)", flip_at=1000)
    proxy.faults.append(flipped)
    assert store.get_object(key).read() == MEMBERS["deep/er/noise.bin"]
    assert flipped.applied == 1
    proxy.faults.append(Fault(method="GET", path=r"/0\.tar($|\?)", flip_at=9000, times=None))
    with pytest.raises(IntegrityError) as caught:
        store.get_object(key).read()
    assert caught.value.key == "0.tar"
    assert caught.value.member == "deep/er/noise.bin"
    assert caught.value.expected != caught.value.actual
    with pytest.raises((IntegrityError, ShardReadError)):
        list(store.iter_objects([shard.entry]))
    proxy.faults.clear()
    assert store.get_object(key).read() == MEMBERS["deep/er/noise.bin"]


def test_a_replaced_archive_is_not_the_one_of_its_entry(store: ExchangeStore) -> None:
    entry = put_shard(store, "0.tar", None).entry
    changed = bytearray(store.get_object("0.tar").read())
    changed[changed.index(MEMBERS["deep/er/noise.bin"]) + 1000] ^= 1
    store.put_object("0.tar", bytes(changed))
    # Its index is that of the old one, and is not believed.
    assert store.get_object("0.tar#a.txt").read() == MEMBERS["a.txt"]
    with pytest.raises((IntegrityError, ShardReadError)):
        [body.read() for body, _ in store.iter_objects([entry])]
