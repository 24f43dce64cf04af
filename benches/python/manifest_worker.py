"""Does the work of ``bench_manifest`` in a process of its own, with this package or the peer.

``python manifest_worker.py ours|theirs ENDPOINT BUCKET ENTRIES``; each line of input is a piece of
work, each is answered by a line: the number of entries, the peak of memory in KiB, or the time of
the processor so far in microseconds.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any


def entries(count: int) -> list[dict[str, Any]]:
    """Make entries of the usual kind, about 200 bytes of JSON each."""
    return [
        {
            "kind": "file",
            "key": f"data/train/{number:08d}.bin",
            "id": f"{number:08d}",
            "meta": {"label": number % 10, "split": "train"},
            "content_type": "application/octet-stream",
            "size_bytes": number * 7919 % (1 << 20),
            "etag": hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest(),
        }
        for number in range(count)
    ]


def open_store(side: str, endpoint: str, bucket: str) -> Any:  # noqa: ANN401 - one of two classes
    """Open the store of one side."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    if side == "ours":
        from shardpack.exchange import S3ExchangeStore
    else:
        from s3exchange import S3ExchangeStore  # type: ignore[no-redef]
    return S3ExchangeStore(client, bucket)


def main() -> None:
    """Answer the lines of the input."""
    side, endpoint, bucket, count = sys.argv[1:]
    store = open_store(side, endpoint, bucket)
    made = entries(int(count))
    appended = 0
    for line in sys.stdin:
        work, _, key = line.strip().partition(" ")
        answer: int | str = 0
        if work == "write":
            store.write_manifest(key, made)
        elif work == "head":
            # Starts what the client starts with its first request.
            store.exists(key)
        elif work == "iterate":
            answer = sum(1 for _ in store.iter_manifest_entries(key))
        elif work == "compact":
            answer = store.compact_manifest(key, f"{key}.flat.jsonl")["total_entries"]
        elif work == "append":
            appended += 1
            entry = {"kind": "file", "key": f"data/{appended}.bin", "size_bytes": appended}
            store.write_manifest(key, [entry], mode="append_parts")
        elif work == "peak":
            status = Path("/proc/self/status").read_text()
            answer = status.partition("VmHWM:")[2].split()[0]
        elif work == "processor":
            answer = time.process_time_ns() // 1000
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
