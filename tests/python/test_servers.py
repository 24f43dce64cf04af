"""The servers that other tests lean on do what those take for granted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from servers import running_moto
from shardpack.errors import PreconditionFailedError
from shardpack.storage.s3 import S3Store


def test_moto_replaces_a_version_once_however_often_it_goes_from_thread_to_thread() -> None:
    # As on a machine under load, where a thread may stop between any two lines.
    with running_moto(switch_interval_s=1e-5) as server:
        client = server.client()
        store = S3Store(client, server.fresh_bucket(client))
        store.put("count", b"0")
        replaced: list[int] = []

        def count_up(_: int) -> None:
            while True:
                with store.get("count") as body:
                    value, tag = int(body.read()), body.info.etag
                try:
                    store.put("count", str(value + 1).encode(), if_match=tag)
                except PreconditionFailedError:
                    continue
                replaced.append(value)
                return

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(count_up, range(150)))
        assert sorted(replaced) == list(range(150))
        assert store.read("count") == b"150"
