"""The size budgets of the design: a file is read in one sitting, the whole is small enough to be known."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "dockwright"
NOT_COUNTED = PACKAGE / "testing"  # the test kit for users is not part of the program
BANNED_FILES = {"utils", "helpers", "common", "core"}
BANNED_ENDINGS = ("Manager", "Handler", "Factory", "Impl")


def lines_of_code(path: Path) -> int:
    """Lines that are not blank, not a comment and not part of a docstring."""
    text = path.read_text("utf-8")
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            said = node.body[0]
            documentation.update(range(said.lineno, (said.end_lineno or said.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in documentation
        for number, line in enumerate(text.splitlines(), start=1)
    )


def test_no_file_is_over_400_lines() -> None:
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
    assert {str(path.relative_to(ROOT)): n for path in files if (n := len(path.read_text().splitlines())) > 400} == {}


def test_the_loop_is_not_over_250_lines() -> None:
    assert len((PACKAGE / "session.py").read_text().splitlines()) <= 250


def test_the_package_is_under_19410_lines_of_code() -> None:
    assert sum(lines_of_code(path) for path in PACKAGE.rglob("*.py") if NOT_COUNTED not in path.parents) < 19410


def test_names_say_what_things_are() -> None:
    files = {path.stem for path in PACKAGE.rglob("*.py")}
    classes = {
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert files & BANNED_FILES == set()
    assert {name for name in classes if name.endswith(BANNED_ENDINGS) or name.startswith(("Abstract", "Base"))} == set()


def test_every_module_begins_with_what_it_is_for() -> None:
    silent = [path for path in PACKAGE.rglob("*.py") if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []
