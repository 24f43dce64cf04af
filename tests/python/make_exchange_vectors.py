"""Writes `tests/vectors/exchange`: what the real ``s3exchange`` 0.1.1 stores, and what it reads.

Run it with the interpreter of the tests: ``python tests/python/make_exchange_vectors.py``. The
interpreter that runs ``s3exchange`` is that of ``benches/python/s3exchange_peer.py``, the server
is moto's. Archives and names of parts carry times, so that each run gives other bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from inputs import REPOSITORY, VECTORS
from servers import running_moto

FOLDER = VECTORS / "exchange"


def main() -> None:
    peer = [sys.executable, str(REPOSITORY / "benches/python/s3exchange_peer.py")]
    python = subprocess.run(peer, capture_output=True, text=True, check=True).stdout.strip()
    driver = str(Path(__file__).with_name("s3exchange_driver.py"))
    shutil.rmtree(FOLDER / "objects", ignore_errors=True)
    with running_moto() as server:
        client = server.client()
        bucket = server.fresh_bucket(client)
        told = subprocess.run(
            [python, driver, server.endpoint_url, bucket, "populate"],
            env=os.environ | server.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        for found in client.list_objects_v2(Bucket=bucket)["Contents"]:
            path = FOLDER / "objects" / found["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
    lines = [
        f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
        for name, rows in json.loads(told.stdout).items()
    ]
    (FOLDER / "contents.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
