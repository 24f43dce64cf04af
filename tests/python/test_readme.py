"""Every example works: the README's, and those in docstrings."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import shardpack
from inputs import REPOSITORY, python_environment

README = REPOSITORY / "README.md"
# Commands that set up or test the checkout itself; the build runs them, not this test.
SETUP = re.compile(r"\b(pip|git clone|maturin|cargo|pytest|uv|venv|\.ci/run)\b")


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line it starts on."""

    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    found: list[Block] = []
    lines: list[str] = []
    language, start = "", 0
    for number, line in enumerate(README.read_text().splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif start:
            found.append(Block(language, "\n".join(lines) + "\n", start))
            start = 0
        else:
            language, start, lines = line[3:].strip(), number, []
    return found


def commands(text: str) -> str:
    """The typed lines of a console block; a line that ends in a backslash goes on."""
    typed: list[str] = []
    goes_on = False
    for line in text.splitlines():
        if line.startswith("$ ") or goes_on:
            typed.append(line.removeprefix("$ "))
            goes_on = line.endswith("\\")
    return "\n".join(typed) + "\n" if typed else ""


def test_the_readme_has_examples_in_both_languages() -> None:
    languages = [block.language for block in blocks()]
    assert "python" in languages
    assert {"console", "bash", "sh"} & set(languages)


@pytest.mark.timeout(180)
def test_the_readme_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    names: dict[str, object] = {"__name__": "readme"}
    ran = 0
    for block in blocks():
        if block.language == "python":
            exec(compile(block.text, f"README.md:{block.line}", "exec"), names)
            ran += 1
        if block.language in {"console", "bash", "sh"}:
            script = commands(block.text)
            if "shardpack" not in script or SETUP.search(script):
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                env=python_environment({"PATH": path}),
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == 0, f"README.md:{block.line}\n{done.stdout}\n{done.stderr}"
            ran += 1
    assert ran >= 2


def documented() -> list[str]:
    package = Path(shardpack.__file__).parent
    names = (
        path.relative_to(package.parent).with_suffix("").parts for path in package.rglob("*.py")
    )
    found = {".".join(parts).removesuffix(".__init__") for parts in names}
    return sorted(name for name in found if not name.endswith("__main__"))


@pytest.mark.parametrize("name", documented())
def test_docstring_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_the_benchmarks_are_a_table_of_measurements() -> None:
    section = README.read_text().split("\n## Benchmarks\n")[1].split("\n## ")[0]
    lines = section.splitlines()
    rules = [number for number, line in enumerate(lines) if re.fullmatch(r"\|[|:\- ]+\|", line)]
    assert rules, "no table"
    measured = [
        line for line in lines[rules[0] + 1 :] if re.fullmatch(r"\|.*\|.*\d.*\|", line.strip())
    ]
    assert len(measured) >= 10


def test_links_inside_the_repository_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", README.read_text())
    assert not [target for target in targets if not (REPOSITORY / target).exists()]
