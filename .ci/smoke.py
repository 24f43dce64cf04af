"""Try an installed shardpack in a minute: import it, then go once through each kind of call."""

from __future__ import annotations

import gzip
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import shardpack

TASKS = Path("/proc/self/task")


def main() -> None:
    """Run all checks; an assertion stops at the first that fails."""
    threads = len(list(TASKS.iterdir())) if TASKS.exists() else 1
    assert threads == 1, f"{threads} threads after import"
    data = b"".join(b"line %d of a log that compresses\n" % number for number in range(200_000))

    assert shardpack.crc32c(b"123456789") == 0xE3069283
    for codec in (shardpack.CpuZstd(), shardpack.CpuGzip(), shardpack.Passthrough()):
        payload, original_size, checksum = codec.compress(data)
        assert original_size == len(data)
        assert checksum == shardpack.crc32c(data)
        assert codec.decompress(payload, original_size, checksum) == data
        assert codec.decompress_many(codec.compress_many([b"", data])) == [b"", data]
    assert gzip.decompress(shardpack.CpuGzip().compress_members(data)) == data

    packed = shardpack.encode_object(data, chunk_size=1 << 20)
    sidecar = packed["sidecar"]
    assert sidecar is not None
    assert shardpack.decode_object(packed["body"], packed["metadata"]) == data
    part = shardpack.decode_range(packed["body"], 2_000_000, 2_000_100, packed["metadata"], sidecar)
    assert part == data[2_000_000:2_000_100]
    plain = shardpack.encode_s4_object(data)
    assert (
        b"".join(
            shardpack.CpuZstd().decompress(frame, header["original_size"], header["crc32c"])
            for header, frame in shardpack.frame_iter(plain["body"])
        )
        == data
    )
    damaged = bytearray(plain["body"])
    damaged[len(damaged) // 2] ^= 1
    try:
        shardpack.decode_object(damaged, plain["metadata"])
    except shardpack.ShardpackError:
        pass
    else:
        message = "a damaged object was decoded"
        raise AssertionError(message)

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "log.txt"
        source.write_bytes(data)
        result = Path(folder) / "result.txt"
        command = str(Path(sys.executable).with_name("shardpack"))
        subprocess.run([command, "compress", "--keep", source], check=True)
        subprocess.run([command, "decompress", "-o", result, f"{source}.s4"], check=True)
        assert result.read_bytes() == data

        store = shardpack.ExchangeStore.open(f"{folder}/store")
        report = store.pack(folder, "data", exclude=["store"])
        assert report.items == len(list(Path(folder).glob("*.*")))
        assert store.verify("data/manifest.jsonl").ok
        members = {
            entry["member_path"]: body.read()
            for body, entry in store.iter_objects("data/manifest.jsonl")
        }
        assert members["result.txt"] == data
    print(f"Python {platform.python_version()}: shardpack {shardpack.__version__} works")


if __name__ == "__main__":
    main()
