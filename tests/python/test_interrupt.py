"""Ctrl-C stops a long call within a second, and the module works on."""

from __future__ import annotations

import pytest

from inputs import run_python

INTERRUPT = """
import os, signal, sys, threading, time
import shardpack
from shardpack import CpuGzip, CpuZstd, CpuZstdDict, hash, rs

MIB = 1 << 20
line = b"".join(b"%08d a line of some log\\n" % (i * 7919 % 10**8) for i in range(30_000))

def text(size):
    return (line * (size // len(line) + 1))[:size]

def hard(size):
    # Enough new bytes to keep the match finders busy.
    import random
    part = random.Random(1).randbytes(size // 2).hex().encode()
    return part[:size]

signals = []

def press():
    signals.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(call, after):
    timer = threading.Timer(after, press)
    start = time.perf_counter()
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        late = time.perf_counter() - signals[0]
        assert late < 1, f"stopped {late:.2f} s after the signal"
    else:
        timer.join()
        sys.exit(f"ran to its end in {time.perf_counter() - start:.2f} s")
    timer.join()
    data = b"works on " * 1000
    for codec in (CpuZstd(), CpuGzip()):
        assert codec.decompress(*codec.compress(data)) == data
    assert CpuZstd().decompress_many(CpuZstd().compress_many([data] * 1000)) == [data] * 1000
    print("stopped")
"""
CALLS = {
    "zstd level 19": "data = hard(96 * MIB); interrupted(lambda: CpuZstd(19).compress(data), 0.5)",
    "zstd level 22 with the size": (
        "data = hard(96 * MIB);"
        "interrupted(lambda: CpuZstd(22, content_size=True).compress(data), 0.5)"
    ),
    "dictionary": (
        "data = hard(96 * MIB); interrupted(lambda: CpuZstdDict(line, 19).compress(data), 0.5)"
    ),
    "gzip level 9": "data = hard(256 * MIB); interrupted(lambda: CpuGzip(9).compress(data), 0.5)",
    "gzip members": (
        "data = hard(256 * MIB); interrupted(lambda: CpuGzip(9).compress_members(data), 0.5)"
    ),
    "compress many": (
        "data = hard(48 * MIB); records = [data[i:i + 4096] for i in range(0, len(data), 4096)];"
        "interrupted(lambda: CpuZstd(19).compress_many(records), 0.5)"
    ),
    "one large record": (
        "data = hard(96 * MIB); interrupted(lambda: CpuZstd(19).compress_many([data]), 0.5)"
    ),
    "objects": (
        "data = hard(96 * MIB);interrupted(lambda: shardpack.encode_object(data, level=19), 0.5)"
    ),
    "streams": (
        "data = hard(96 * MIB); interrupted(lambda: CpuZstd(19).compressor().compress(data), 0.5)"
    ),
    "decompress": (
        "data = hard(96 * MIB); made = CpuGzip(1).compress(data); "
        "interrupted(lambda: [CpuGzip().decompress(*made) for _ in range(60)], 0.5)"
    ),
    "decompress all": (
        "data = hard(16 * MIB); made = CpuGzip(1).compress(data)[0] * 40;"
        "interrupted(lambda: [CpuGzip().decompress_all(made) for _ in range(9)], 0.5)"
    ),
    "frames": (
        "data = hard(64 * MIB); body = shardpack.encode_frames(CpuGzip(1), data, MIB)[0] * 6;"
        "interrupted(lambda: [shardpack.decode_frames(body) for _ in range(30)], 0.5)"
    ),
    # Zeros that were never touched take no memory.
    "sha256": "data = bytes(4096 * MIB); interrupted(lambda: hash.sha256(data), 0.5)",
    "blake3 on one thread": (
        "data = bytes(4096 * MIB);"
        "interrupted(lambda: [hash.blake3(data, threads=1) for _ in range(30)], 0.5)"
    ),
    "blake3 output": (
        "interrupted(lambda: [hash.blake3(b'', length=512 * MIB) for _ in range(99)], 0.5)"
    ),
    "hash many": (
        "data = bytes(4096 * MIB); interrupted(lambda: hash.many('blake3', [data] * 500), 0.5)"
    ),
    "hash many short ones": (
        "data = [bytes(4096)] * 1_000_000;"
        "interrupted(lambda: [hash.many_packed('sha3_256', data) for _ in range(30)], 0.5)"
    ),
    "hasher": ("data = bytes(4096 * MIB); interrupted(lambda: hash.Sha3_256().update(data), 0.5)"),
    "rs verify": (
        "data = [bytes(1024 * MIB)] * 16;"
        "interrupted(lambda: [rs.verify(data, 8) for _ in range(99)], 0.5)"
    ),
    "decompress many": (
        "data = hard(64 * MIB); stored = CpuGzip(1).compress_many("
        "[data[i:i + 65536] for i in range(0, len(data), 65536)]);"
        "interrupted(lambda: [CpuGzip().decompress_many(stored * 5) for _ in range(30)], 0.5)"
    ),
}

# Tiny payloads of one long decoding: nothing but the decoder itself can notice the signal.
BOMB = """
GIB = 1 << 30
def bomb(codec):
    payload, size, crc = codec.compress(bytes(GIB))
    metadata = {"s4-codec": codec.name, "s4-original-size": str(size),
                "s4-compressed-size": str(len(payload)), "s4-crc32c": str(crc)}
    return payload, metadata
"""
BOMBS = {
    "decompress all": (
        "payload, _ = bomb(CpuZstd()); interrupted(lambda: CpuZstd().decompress_all(payload), 0.2)"
    ),
    "decompress many": (
        "payload, _ = bomb(CpuZstd());"
        "interrupted(lambda: CpuZstd().decompress_many([payload]), 0.2)"
    ),
    "decompressor": (
        "payload, _ = bomb(CpuZstd());"
        "interrupted(lambda: CpuZstd().decompressor().decompress(payload), 0.2)"
    ),
    "range of an unframed object": (
        "body, facts = bomb(CpuGzip(1));"
        "interrupted(lambda: shardpack.decode_range(body, GIB // 2, GIB // 2 + 10, facts), 0.2)"
    ),
    "object": (
        "body, facts = bomb(CpuZstd());"
        "interrupted(lambda: shardpack.decode_object(body, facts), 0.2)"
    ),
    "verification": (
        "body, facts = bomb(CpuZstd());"
        "interrupted(lambda: shardpack.verify_object(body, facts), 0.2)"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLS)
def test_a_signal_stops_the_call(name: str) -> None:
    assert run_python(INTERRUPT + CALLS[name]) == "stopped"


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_signal_stops_the_decoding_of_a_bomb(name: str) -> None:
    assert run_python(INTERRUPT + BOMB + BOMBS[name]) == "stopped"


def test_a_handler_that_raises_nothing_lets_the_call_finish() -> None:
    code = INTERRUPT + (
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(time.perf_counter()))\n"
        "data = text(24 * MIB)\n"
        "timer = threading.Timer(0.05, press); timer.start()\n"
        "while True:\n"
        "    made = CpuZstd(5).compress(data)\n"
        "    if seen: break\n"
        "timer.join()\n"
        "assert CpuZstd().decompress(*made) == data; print('finished')"
    )
    assert run_python(code) == "finished"
