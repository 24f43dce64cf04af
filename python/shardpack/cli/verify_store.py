"""``shardpack verify`` of what lies in a store: manifests, archives, prefixes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from shardpack.cli.console import EXPECTED_ERRORS, describe, paint, printable
from shardpack.cli.sizes import counted, format_size
from shardpack.cli.store_options import NO_DATASET, ROOT_HINT, open_at
from shardpack.errors import ObjectNotFoundError

if TYPE_CHECKING:
    import argparse

    from shardpack.cli.console import Console
    from shardpack.exchange import ExchangeStore
    from shardpack.exchange.upkeep.verify import DatasetReport, Finding

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
    try:
        store, key = open_at(options, url)
        report = _verify(store, key, full=not options.quick, bar=bar)
    except EXPECTED_ERRORS as error:
        console.failed = True
        text = describe(error, url)
        if not options.json:
            console.say(f"{printable(url)}: {paint('FAILED', 'red', sys.stdout)}, {text}")
        return {"source": url, "verified": False, "error": text}
    console.failed = console.failed or not report.ok
    if not options.json:
        for finding in report.findings:
            console.say(_line(finding))
        if report.findings or not options.quiet:
            is_one = store.is_manifest(key) or store.is_shard(key)
            console.say(f"{printable(url)}: {_sentence(report, is_one=is_one)}")
        if report.manifests and {finding.problem for finding in report.findings} == {"missing"}:
            console.note(url, ROOT_HINT)
    return {"source": url, "verified": report.ok, **report.to_dict()}


def _verify(
    store: ExchangeStore,
    key: str,
    *,
    full: bool,
    bar: Any,  # noqa: ANN401 - a bar of tqdm, or None
) -> DatasetReport:
    try:
        return store.verify(key, full=full, progress=bar)
    except ObjectNotFoundError as error:
        if error.key != key or store.is_shard(key):
            raise
        raise ValueError(NO_DATASET) from error


def _line(finding: Finding) -> str:
    where = finding.key if finding.member is None else f"{finding.key}#{finding.member}"
    return printable(f"{where}: {finding.problem}: {finding.message}")


def _sentence(report: DatasetReport, *, is_one: bool) -> str:
    manifests = f"{counted(report.manifests, 'manifest')},"
    if not report.manifests and not is_one:
        manifests = "no manifest was found:"
    counts = (
        f"{manifests} {counted(report.shards, 'shard')}, "
        f"{counted(report.members, 'member')}, {counted(report.objects, 'object')}, "
        f"{format_size(report.bytes)} read"
    )
    if report.ok:
        return f"{paint('ok', 'green', sys.stdout)}, {counts}"
    findings = counted(len(report.findings), "finding")
    return f"{paint('FAILED', 'red', sys.stdout)}, {findings}; {counts}"
