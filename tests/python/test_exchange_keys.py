from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardpack.errors import MissingPlaceholderError, UnsafePathError
from shardpack.exchange.keys import (
    Space,
    infer_id_from_key,
    is_manifest_key,
    is_shard_key,
    normalize_key,
    resolve_template,
    split_virtual_key,
)
from shardpack.storage import MemoryStore


@pytest.mark.parametrize(
    ("key", "normal"),
    [
        ("a/b", "a/b"),
        ("//a///b//", "a/b"),
        ("", ""),
        ("///", ""),
        ("a/../b/./c ", "a/../b/./c "),
        ("A/ b", "A/ b"),
    ],
)
def test_keys_have_single_slashes_and_are_otherwise_kept(key: str, normal: str) -> None:
    assert normalize_key(key) == normal


@given(st.text(alphabet="a/.", max_size=12))
def test_a_normal_key_stays_as_it_is(key: str) -> None:
    normal = normalize_key(key)
    assert normalize_key(normal) == normal
    assert "//" not in normal
    assert normal.strip("/") == normal


@pytest.mark.parametrize(
    ("template", "values", "defaults", "key"),
    [
        ("{a}/{b}", {"a": 1, "b": None}, None, "1/None"),
        ("{a}/{b}", {"b": 1}, {"a": "q", "b": 2}, "q/1"),
        ("//{a}//", {"a": "x/"}, None, "x"),
        ("no/names", {}, None, "no/names"),
        ("{{a}}/{b}", {"b": "c"}, None, "{a}/c"),
        ("{0}", {"0": "zero"}, None, "zero"),
        ("{a}", {"a": "{b}"}, None, "{b}"),
        ("{a}{b}", {"a": "x..", "b": "y"}, None, "x..y"),
        ("../{a}", {"a": "x"}, None, "../x"),
    ],
)
def test_templates_take_values_before_defaults(
    template: str, values: dict[str, Any], defaults: dict[str, Any] | None, key: str
) -> None:
    assert resolve_template(template, values, defaults) == key


def test_the_first_missing_placeholder_is_named() -> None:
    with pytest.raises(MissingPlaceholderError, match="b") as caught:
        resolve_template("{a}/{b}/{c}", {"a": 1})
    assert (caught.value.placeholder, caught.value.template) == ("b", "{a}/{b}/{c}")


@pytest.mark.parametrize(
    "template",
    ["{}", "{", "a}", "{a!r}", "{a:>5}", "{a.b}", "{a.__class__}", "{a[0]}", "{ a }", "{a-b}"],
)
def test_a_placeholder_is_a_name_and_nothing_else(template: str) -> None:
    with pytest.raises(ValueError, match=r"[{}]"):
        resolve_template(template, {"a": "x", "b": "y"})


@pytest.mark.parametrize(
    "values",
    [
        {"a": "../../etc", "b": ""},
        {"a": "..", "b": ""},
        {"a": "x/..", "b": ""},
        {"a": "x/../y", "b": ""},
        {"a": ".", "b": "."},
        {"a": "x/.", "b": "./y"},
        {"a": "nul\0", "b": ""},
    ],
)
def test_values_cannot_lead_out_of_their_folder(values: dict[str, str]) -> None:
    with pytest.raises(UnsafePathError):
        resolve_template("top/{a}{b}", values)


@pytest.mark.parametrize(
    ("key", "short", "name"),
    [
        ("a/b.tar.gz", "b.tar", "b.tar.gz"),
        (".hidden", "", ".hidden"),
        ("a/b/", "", ""),
        ("a", "a", "a"),
        ("a/.x.y", ".x", ".x.y"),
        ("a/b..", "b.", "b.."),
        ("", "", ""),
    ],
)
def test_identifiers_are_the_last_part_without_its_last_extension(
    key: str, short: str, name: str
) -> None:
    assert infer_id_from_key(key) == short
    assert infer_id_from_key(key, False) == name  # noqa: FBT003 - older programs call it so


def test_virtual_keys_split_at_the_first_hash() -> None:
    assert split_virtual_key("a.tar#b#c") == ("a.tar", "b#c")
    assert split_virtual_key("a.tar") is None
    assert split_virtual_key("#b") is None
    assert split_virtual_key("a#") is None


def test_kinds_of_objects_are_told_by_extension() -> None:
    shards = [
        "x.tar",
        "x.tar.gz",
        "x.tgz",
        "x.tar.bz2",
        "x.tar.xz",
        "x.tar.zst",
        "x.tzst",
        "x.tar.s4",
    ]
    assert all(map(is_shard_key, shards))
    assert not any(map(is_manifest_key, shards))
    assert is_manifest_key("a/m.jsonl")
    assert not any(map(is_shard_key, ["x.gz", "x.zip", "tar", "m.jsonl", "x.tar/y"]))


def test_the_base_prefix_is_put_before_keys_once() -> None:
    space = Space(MemoryStore("keys"), "/base//prefix/")
    assert space.base_prefix == "base/prefix"
    assert space.full("a//b") == "base/prefix/a/b"
    assert space.full("base/prefix/a/b") == "base/prefix/a/b"
    assert space.full(space.full("a")) == space.full("a")
    assert space.full("base/prefixes") == "base/prefix/base/prefixes"
    assert space.relative("base/prefix/a/b") == "a/b"
    assert space.relative("other/a") == "other/a"
    assert Space(MemoryStore("keys")).full("a") == "a"


@pytest.mark.parametrize("full", ["base/a", "base/base/a", "base/base/base/a", "base/base", "base"])
def test_the_relative_form_of_a_key_leads_back_to_it(full: str) -> None:
    space = Space(MemoryStore("keys"), "base")
    if full != "base":
        assert space.full(space.relative(full)) == full
    assert Space(MemoryStore("keys")).relative(full) == full


def test_prefixes_to_list_stay_inside_of_the_base_prefix() -> None:
    space = Space(MemoryStore("keys"), "base")
    assert space.full_prefix("") == "base/"
    assert space.full_prefix("/") == "base/"
    assert space.full_prefix("base/") == "base/"
    assert space.full_prefix("a/") == "base/a/"
    assert space.full_prefix("a") == "base/a"
    assert space.full_prefix("base/a") == "base/a"
    assert Space(MemoryStore("keys")).full_prefix("") == ""


@pytest.mark.parametrize("key", ["", "/", "..", "a/../b", "./a", "a/.", "nul\0", "../base/x"])
def test_keys_that_climb_or_are_empty_are_refused(key: str) -> None:
    with pytest.raises(UnsafePathError) as caught:
        Space(MemoryStore("keys"), "base").full(key)
    assert caught.value.path == key


def test_a_base_prefix_cannot_climb() -> None:
    with pytest.raises(UnsafePathError):
        Space(MemoryStore("keys"), "a/../b")


def test_a_space_pickles() -> None:
    space = Space(MemoryStore("keys"), "base")
    again = pickle.loads(pickle.dumps(space))
    assert again.full("a") == "base/a"
