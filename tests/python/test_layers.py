"""The shape of the repository: imports go down, files stay small, nothing private leaks."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

from inputs import REPOSITORY, run_python

PACKAGE = REPOSITORY / "python" / "shardpack"
# Layer of each module or folder of the package. A new one must find its place here.
LAYERS = {
    "errors": 0,
    "progress": 1,
    "_native": 1,
    "checksum": 2,
    "codec": 2,
    "cpu": 2,
    "frame": 2,
    "hash": 2,
    "nmt": 2,
    "object": 2,
    "rs": 2,
    "batch": 3,
    "body": 3,
    "codec_io": 3,
    "container": 3,
    "frame_io": 3,
    "stream": 3,
    "atomic": 3,
    "archive": 4,
    "files": 4,
    "parity": 4,
    "storage": 4,
    "exchange": 5,
    "cli": 6,
}
# Of one layer, and still none of each other's business: formats know no stores.
STRANGERS = ({"archive", "storage"}, {"parity", "storage"}, {"archive", "parity"})
# Slow or optional: imported where they are used, so that `import shardpack` stays light.
LATE = {
    "argparse",
    "boto3",
    "botocore",
    "hypothesis",
    "matplotlib",
    "numpy",
    "orjson",
    "pandas",
    "pyarrow",
    "tqdm",
}
# Packages that one folder alone may know.
HOME = {"boto3": "storage/s3", "botocore": "storage/s3"}
MOST_LINES = 600


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def identity(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def area(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(tree: ast.Module, *, at_import_only: bool) -> set[str]:
    """Names of imported modules, with what follows `shardpack.`; type-only imports are left out."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if at_import_only and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            if isinstance(child, ast.ImportFrom):
                assert child.level == 0, "imports are absolute"
                found.add(child.module or "")
                if child.module == "shardpack":
                    found.update(f"shardpack.{alias.name}" for alias in child.names)
            visit(child)

    visit(tree)
    return found


def test_every_module_has_a_layer() -> None:
    areas = {area(path) for path in modules()} - {"__init__", "__main__"}
    assert areas <= set(LAYERS)


@pytest.mark.parametrize("path", modules(), ids=identity)
def test_imports_go_down_only(path: Path) -> None:
    own = area(path)
    if own in {"__init__", "__main__"}:
        return
    for name in imported(ast.parse(path.read_text()), at_import_only=False):
        head, _, rest = name.partition(".")
        if head != "shardpack" or not rest:
            assert name != "shardpack", "the package page is for users, not for its own modules"
            continue
        other = rest.split(".")[0]
        assert other in LAYERS, f"{other} has no layer"
        if other != own:
            assert LAYERS[other] <= LAYERS[own], f"{own} imports {other}"
            assert {own, other} not in STRANGERS, f"{own} imports {other}"
            assert LAYERS[own] != 2 or LAYERS[other] < 2, f"page {own} imports page {other}"


def test_modules_do_not_import_each_other_in_circles() -> None:
    edges = {
        identity(path): imported(ast.parse(path.read_text()), at_import_only=False)
        for path in modules()
        if area(path) != "__init__"
    }
    names = {
        file: "shardpack."
        + ".".join(Path(file).relative_to("python/shardpack").with_suffix("").parts)
        for file in edges
    }
    graph = {
        names[file].removesuffix(".__init__"): {
            target for target in targets if target in names.values() and target != names[file]
        }
        for file, targets in edges.items()
    }
    done: set[str] = set()

    def walk(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name not in done:
            for target in graph.get(name, ()):
                walk(target, (*above, name))
            done.add(name)

    for name in graph:
        walk(name, ())


@pytest.mark.parametrize("path", modules(), ids=identity)
def test_slow_and_optional_packages_are_imported_when_used(path: Path) -> None:
    names = imported(ast.parse(path.read_text()), at_import_only=True)
    heads = {name.partition(".")[0] for name in names}
    # These are imported late themselves.
    allowed = {"cli": {"argparse"}, "exchange": {"orjson"}, "archive": {"orjson"}}
    assert not heads & (LATE - allowed.get(area(path), set()))
    everywhere = imported(ast.parse(path.read_text()), at_import_only=False)
    for package in {name.partition(".")[0] for name in everywhere} & set(HOME):
        assert HOME[package] in identity(path), f"only {HOME[package]} may import {package}"


def test_import_is_light() -> None:
    code = (
        f"import sys; import shardpack; print(sorted(set({sorted(LATE)!r}) & sys.modules.keys()))"
    )
    assert run_python(code) == "[]"


# A page is imported when one of its names is first asked for, so `import shardpack` costs a few
# milliseconds however many pages there are. Type checkers read the stub, programs the table.


def test_import_loads_no_page() -> None:
    code = "import sys, shardpack; print(*sorted(n for n in sys.modules if 'shardpack' in n))"
    assert run_python(code) == "shardpack shardpack._native"


def test_the_package_stub_only_re_exports() -> None:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    for node in tree.body:
        is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert is_all or isinstance(node, ast.ImportFrom), ast.unparse(node)


def test_the_package_page_has_what_its_stub_says() -> None:
    import shardpack

    tree = ast.parse((PACKAGE / "__init__.pyi").read_text())
    stub: dict[str, str] = {}
    exported: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            stub.update((alias.name, node.module) for alias in node.names)
        if isinstance(node, ast.Assign):
            exported = ast.literal_eval(node.value)
    assert sorted(exported) == sorted(stub) == sorted(shardpack.__all__)
    for name, home in stub.items():
        page = importlib.import_module(home)
        if home == "shardpack":
            page = importlib.import_module(f"shardpack.{name}")
            assert getattr(shardpack, name) is page
        else:
            assert getattr(shardpack, name) is getattr(page, name), name
            assert name in page.__all__, f"{home} does not offer {name}"


def test_the_package_page_knows_its_pages_and_nothing_else() -> None:
    import shardpack

    for page in vars(shardpack)["_PAGES"]:
        assert getattr(shardpack, page) is importlib.import_module(f"shardpack.{page}")
    assert set(shardpack.__all__) <= set(dir(shardpack))
    with pytest.raises(AttributeError, match="module 'shardpack' has no attribute 'nonsense'"):
        _ = shardpack.nonsense  # type: ignore[attr-defined]


def test_a_page_that_imports_its_names_later_lists_them_and_nothing_else() -> None:
    import shardpack
    from shardpack import exchange, storage

    for page in (exchange, storage):
        assert dir(page) == sorted(page.__all__)
    assert dir(shardpack) == sorted({*shardpack.__all__, *vars(shardpack)["_PAGES"]})


def tracked() -> list[Path]:
    """Files that belong to the repository: what git knows, or would take."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout")
    paths = [REPOSITORY / name for name in done.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_no_file_is_longer_than_600_lines() -> None:
    long = {}
    for path in tracked():
        # The stub mirrors the whole native module, which is flat.
        if path.suffix in {".py", ".pyi", ".rs"} and path.name != "_native.pyi":
            count = len(path.read_text().splitlines())
            if count > MOST_LINES:
                long[identity(path)] = count
    assert not long


def test_nothing_names_the_place_where_it_was_made() -> None:
    place = re.compile(rb"(?<![\w.$}~-])/" + rb"work(?![\w-])")
    assert not [identity(path) for path in tracked() if place.search(path.read_bytes())]


def test_the_version_stands_in_one_place() -> None:
    found = re.search(r'^version = "(.+)"$', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)
    assert found is not None
    import shardpack

    assert shardpack.__version__ == found[1]
    assert 'dynamic = ["version"]' in (REPOSITORY / "pyproject.toml").read_text()
