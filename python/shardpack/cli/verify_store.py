"""``shardpack verify`` of what lies in a store: manifests, archives, prefixes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shardpack.cli.console import EXPECTED_ERRORS, describe, paint, printable
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import open_at

if TYPE_CHECKING:
    import argparse

    from shardpack.cli.console import Console
    from shardpack.exchange.upkeep.verify import VerifyReport

__all__ = ["verify_url"]


def verify_url(
    options: argparse.Namespace,
    console: Console,
    url: str,
    bar: Any,  # noqa: ANN401 - a bar of tqdm, or None
) -> dict[str, object]:
    """Check what one URL names, and say so.

    Args:
        options: The command line.
        console: Where it is said.
        url: The URL.
        bar: The progress bar.

    Returns:
        The facts, for JSON.
    """
    from shardpack.exchange.upkeep.verify import verify

    try:
        store, key = open_at(options, url)
        report = verify(store.space, key, full=not options.quick, progress=bar)
    except EXPECTED_ERRORS as error:
        console.failed = True
        text = describe(error, url)
        if not options.json:
            console.say(f"{printable(url)}: {paint('FAILED', 'red', sys.stdout)}, {text}")
        return {"source": url, "verified": False, "error": text}
    console.failed = console.failed or not report.ok
    if not options.json:
        for finding in report.findings:
            console.say(f"{printable(str(finding))}")
        if report.findings or not options.quiet:
            console.say(f"{printable(url)}: {_sentence(report)}")
    return {"source": url, "verified": report.ok, **asdict(report)}


def _sentence(report: VerifyReport) -> str:
    counts = (
        f"{counted(report.manifests, 'manifest')}, {counted(report.shards, 'shard')}, "
        f"{counted(report.members, 'member')}, {counted(report.objects, 'object')}, "
        f"{format_size(report.bytes)} read"
    )
    if report.ok:
        return f"{paint('ok', 'green', sys.stdout)}, {counts}"
    findings = counted(len(report.findings), "finding")
    return f"{paint('FAILED', 'red', sys.stdout)}, {findings}; {counts}"
