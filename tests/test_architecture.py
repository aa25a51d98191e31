"""Who may import whom (docs/architecture.md), held by reading every import in the tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "gpudoctor"
CHECKS = ROOT / "checks" / "gpudoctor_checks"

# Lower may not import higher. A module not named here stands at the height of its package.
HEIGHT = {
    "layer": 0,
    "unread": 0,
    "finding": 0,
    "facts": 1,
    "node": 1,
    "parse": 2,
    "allocator": 2,
    "torch_hooks": 0,
    "collect": 3,
    "check": 2,
    "knowledge": 2,
    "lines": 3,
    "catalog": 4,
    "examine": 5,
    "diagnosis": 6,
    "report": 7,
    "render": 8,
    "cli": 9,
    "__init__": 0,
    "__main__": 10,
}
ALLOWED_IN_CHECKS = ("facts", "unread", "finding", "check", "knowledge", "layer")
ONLY_IN_NODE = ("pynvml", "subprocess", "ctypes", "multiprocessing")


def modules(root: Path) -> list[Path]:
    return sorted(root.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(name: str) -> str:
    pieces = name.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(PACKAGE), ids=relative)
def test_imports_point_one_way_down(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        if not name.startswith("gpudoctor.") or part(name) not in HEIGHT:
            continue
        assert HEIGHT[part(name)] <= HEIGHT[own], f"{relative(path)} imports {name}, which stands above it"
        if part(name) != own:
            assert (own, part(name)) not in {("facts", "node"), ("node", "facts")}, f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", modules(PACKAGE), ids=relative)
def test_the_machinery_holds_no_opinion(path: Path) -> None:
    assert not [name for name in imports(path) if name.split(".")[0] == "gpudoctor_checks"]


@pytest.mark.parametrize("path", modules(CHECKS), ids=relative)
def test_checks_see_facts_and_nothing_of_the_machine(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        if top == "gpudoctor" and name != "gpudoctor":
            assert part(name) in ALLOWED_IN_CHECKS, f"{relative(path)} imports {name}"
        assert top not in (*ONLY_IN_NODE, "rich", "typer", "os", "pathlib", "socket"), (
            f"{relative(path)} imports {name}"
        )


@pytest.mark.parametrize("path", modules(PACKAGE), ids=relative)
def test_only_the_seam_touches_a_machine(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        top = name.split(".")[0]
        if own != "node":
            assert top not in ONLY_IN_NODE, f"{relative(path)} imports {name}"
        if own not in ("render", "cli"):
            assert top not in ("rich", "typer"), f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", modules(PACKAGE) + modules(CHECKS), ids=relative)
def test_files_fit_a_reader(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", modules(PACKAGE) + modules(CHECKS), ids=relative)
def test_no_failure_is_swallowed(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            assert not (len(node.body) == 1 and isinstance(node.body[0], ast.Pass)), f"{relative(path)}:{node.lineno}"
