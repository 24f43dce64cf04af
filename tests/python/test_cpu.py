"""CPU levels: what is reported, what can be forced, and that digests are the same on each."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import shardpack
from inputs import run_python

FOUND = shardpack.cpu_features()
TESTS = str(Path(__file__).parent)
ALL_LEVELS = ["scalar", "ssse3", "avx2", "gfni", "avx512", "neon"]


def level_of(value: str | None) -> str:
    code = "import shardpack; print(shardpack.cpu_features()['level'])"
    return run_python(code, {"SHARDPACK_CPU": value})


def test_the_answer_has_its_parts() -> None:
    assert set(FOUND) == set(shardpack.CpuFeatures.__annotations__)
    assert FOUND["level"] in FOUND["levels"]
    assert FOUND["levels"][0] == "scalar"
    assert set(FOUND["levels"]) <= set(ALL_LEVELS)
    assert FOUND["levels"] == sorted(FOUND["levels"], key=ALL_LEVELS.index)
    assert all(type(value) is bool for value in FOUND["features"].values())
    assert all(type(value) is str for value in FOUND["kernels"].values())
    assert inspect.signature(shardpack.cpu_features).parameters == {}
    assert shardpack.cpu_features.__doc__


def test_the_highest_level_is_the_default() -> None:
    assert level_of(None) == level_of("") == level_of(" ") == FOUND["levels"][-1]


@pytest.mark.parametrize("level", FOUND["levels"])
def test_every_level_can_be_forced(level: str) -> None:
    assert level_of(level) == level
    assert level_of(f" {level} ") == level


def test_a_lower_level_has_fewer_features() -> None:
    code = (
        "import shardpack; found = shardpack.cpu_features()['features'];"
        "print(*sorted(name for name in found if found[name]))"
    )
    before: set[str] = set()
    for level in (level for level in FOUND["levels"] if level != "neon"):
        names = set(run_python(code, {"SHARDPACK_CPU": level}).split())
        assert before < names or level == "scalar"
        before = names
    assert run_python(code, {"SHARDPACK_CPU": "scalar"}) == ""


@pytest.mark.parametrize("level", FOUND["levels"])
def test_recorded_digests_on_every_level(level: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {TESTS!r}); import hash_vectors, shardpack;"
        "print(shardpack.cpu_features()['level'], hash_vectors.check() > 300)"
    )
    assert run_python(code, {"SHARDPACK_CPU": level}) == f"{level} True"


MISSING = [level for level in ALL_LEVELS if level not in FOUND["levels"]]


@pytest.mark.parametrize("value", ["sse9", "AVX2", "avx2,gfni", "0", *MISSING])
def test_a_level_that_is_not_there_is_refused_at_import(value: str) -> None:
    code = """
try:
    import shardpack
except RuntimeError as error:
    print(type(error).__module__, type(error).__name__, error)
"""
    levels = ", ".join(FOUND["levels"])
    assert run_python(code, {"SHARDPACK_CPU": value}) == (
        f'shardpack.errors BackendUnavailable SHARDPACK_CPU="{value}":'
        f" this CPU has the levels {levels}"
    )
