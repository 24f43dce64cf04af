"""Random work on stores, compared with a dictionary that does the same."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shardpack.errors import ObjectNotFoundError, PreconditionFailedError
from shardpack.storage import FileStore, MemoryStore, ObjectInfo

if TYPE_CHECKING:
    from shardpack.storage import ObjectStore

# Keys that are near each other in every order, of which none is the folder of another.
KEYS = ["a", "a.", "a0", "b/c", "b/c.d", "b/d/e", "b-/c", "b/d/f", "c/d/e/f", "\u00fc/\U0001f600"]
PREFIXES = ["", "a", "a.", "b", "b/", "b/c", "b/d", "b/d/", "c/", "\u00fc", "nothing"]
keys = st.sampled_from(KEYS)
contents = st.binary(max_size=30)
facts = st.dictionaries(st.sampled_from(["one", "two"]), st.sampled_from(["1", "2"]))
bounds = st.none() | st.integers(-40, 40)
_numbers = itertools.count()


@dataclass
class Known:
    data: bytes
    metadata: dict[str, str]
    content_type: str | None
    etag: str | None


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = self.make_store()
        self.known: dict[str, Known] = {}
        self.old_tags: list[str | None] = []

    def make_store(self) -> ObjectStore:
        return MemoryStore(f"model-{next(_numbers)}")

    @rule(key=keys, data=contents, metadata=facts, content_type=st.sampled_from([None, "a/b"]))
    def put(
        self, key: str, data: bytes, metadata: dict[str, str], content_type: str | None
    ) -> None:
        info = self.store.put(key, data, metadata=metadata, content_type=content_type)
        self.remember(key, Known(data, metadata, content_type, info.etag))

    @rule(key=keys, pieces=st.lists(contents, max_size=4), metadata=facts, abort=st.booleans())
    def write(
        self, key: str, pieces: list[bytes], metadata: dict[str, str], *, abort: bool
    ) -> None:
        writer = self.store.writer(key, metadata=metadata)
        for piece in pieces:
            writer.write(piece)
        if abort:
            writer.abort()
        else:
            self.remember(key, Known(b"".join(pieces), metadata, None, writer.close().etag))

    @rule(key=keys, data=contents)
    def put_if_absent(self, key: str, data: bytes) -> None:
        if key in self.known:
            with pytest.raises(PreconditionFailedError):
                self.store.put(key, data, if_absent=True)
        else:
            self.remember(
                key, Known(data, {}, None, self.store.put(key, data, if_absent=True).etag)
            )

    @rule(key=keys, data=contents, current=st.booleans(), which=st.integers(0, 5))
    def put_if_match(self, key: str, data: bytes, *, current: bool, which: int) -> None:
        known = self.known.get(key)
        if current and known is not None:
            info = self.store.put(key, data, if_match=known.etag)
            self.remember(key, Known(data, {}, None, info.etag))
        elif self.old_tags:
            tag = self.old_tags[which % len(self.old_tags)]
            with pytest.raises((PreconditionFailedError, ObjectNotFoundError)):
                self.store.put(key, data, if_match=tag)

    @rule(source=keys, to=keys, metadata=st.none() | facts)
    def copy(self, source: str, to: str, metadata: dict[str, str] | None) -> None:
        known = self.known.get(source)
        if known is None:
            with pytest.raises(ObjectNotFoundError):
                self.store.copy(source, to, metadata=metadata)
            return
        info = self.store.copy(source, to, metadata=metadata)
        kept = known.metadata if metadata is None else metadata
        self.remember(to, Known(known.data, kept, known.content_type, info.etag))

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.forget(key)

    @rule(some=st.lists(keys, max_size=5))
    def delete_many(self, some: list[str]) -> None:
        assert self.store.delete_many(some) == {}
        for key in some:
            self.forget(key)

    @rule(key=keys, start=bounds, end=st.none() | st.integers(0, 40))
    def read(self, key: str, start: int | None, end: int | None) -> None:
        known = self.known.get(key)
        if end is not None and (start is None or start < 0 or end < start):
            start = 0
        if known is None:
            with pytest.raises(ObjectNotFoundError):
                self.store.read(key, start=start, end=end)
            assert not self.store.exists(key)
            return
        assert self.store.read(key, start=start, end=end) == known.data[start:end]
        with self.store.get(key, start=start, end=end, if_match=known.etag) as body:
            assert body.read(7) + body.read() == known.data[start:end]
            assert body.info.metadata == known.metadata

    @rule(key=keys)
    def head(self, key: str) -> None:
        known = self.known.get(key)
        if known is None:
            with pytest.raises(ObjectNotFoundError):
                self.store.head(key)
            return
        info = self.store.head(key)
        assert (info.size, info.etag) == (len(known.data), known.etag)
        assert (info.metadata, info.content_type) == (known.metadata, known.content_type)

    @rule(prefix=st.sampled_from(PREFIXES), after=st.none() | st.sampled_from([*KEYS, "b/", "b/z"]))
    def list(self, prefix: str, after: str | None) -> None:
        expected = sorted(
            (key for key in self.known if key.startswith(prefix) and key > (after or "")),
            key=str.encode,
        )
        found = list(self.store.list(prefix, start_after=after))
        assert [info.key for info in found] == expected
        assert [info.etag for info in found] == [self.known[key].etag for key in expected]

    @rule(prefix=st.sampled_from(PREFIXES))
    def list_level(self, prefix: str) -> None:
        expected = set()
        for key in self.known:
            if key.startswith(prefix):
                head, slash, _ = key[len(prefix) :].partition("/")
                expected.add(prefix + head + slash)
        found = [
            one.key if isinstance(one, ObjectInfo) else one for one in self.store.list_level(prefix)
        ]
        assert found == sorted(expected)

    @invariant()
    def nothing_is_left_over(self) -> None:
        assert list(self.store.iter_uploads()) == []

    def remember(self, key: str, known: Known) -> None:
        self.forget(key)
        self.known[key] = known
        assert known.etag not in self.old_tags

    def forget(self, key: str) -> None:
        known = self.known.pop(key, None)
        if known is not None:
            self.old_tags.append(known.etag)


class FileStoreMachine(StoreMachine):
    def make_store(self) -> ObjectStore:
        self.folder = tempfile.mkdtemp()
        return FileStore(self.folder, sync=False)

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


WORK = settings(stateful_step_count=60)
TestMemoryStore = StoreMachine.TestCase
TestMemoryStore.settings = WORK
TestFileStore = FileStoreMachine.TestCase
TestFileStore.settings = WORK
