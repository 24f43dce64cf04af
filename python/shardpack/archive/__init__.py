"""Shard archives: tar files in independent chunks, with an index of members beside them."""

from __future__ import annotations

from shardpack.archive.compression import (
    COMPRESSIONS,
    READABLE_COMPRESSIONS,
    compression_of_key,
    suffix_of,
)
from shardpack.archive.foreign import build_index
from shardpack.archive.index import INDEX_SUFFIX, ArchiveIndex, Member, index_key
from shardpack.archive.member_path import check_member_path
from shardpack.archive.random_access import IndexedBody, MemberReader, verify_member
from shardpack.archive.reader import MemberBody, TarMember, iter_archive, sniff_compression
from shardpack.archive.writer import DEFAULT_CHUNK_SIZE, ArchiveWriter

__all__ = [
    "COMPRESSIONS",
    "DEFAULT_CHUNK_SIZE",
    "INDEX_SUFFIX",
    "READABLE_COMPRESSIONS",
    "ArchiveIndex",
    "ArchiveWriter",
    "IndexedBody",
    "Member",
    "MemberBody",
    "MemberReader",
    "TarMember",
    "build_index",
    "check_member_path",
    "compression_of_key",
    "index_key",
    "iter_archive",
    "sniff_compression",
    "suffix_of",
    "verify_member",
]
