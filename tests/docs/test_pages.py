"""What the pages say can be typed, loaded and found."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dockwright.agent import lint
from dockwright.config import Config
from dockwright.errors import ExitCode
from dockwright.tools import TOOLS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "sandbox/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
PROGRAM = str(Path(sys.executable).parent / "dockwright")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> set[tuple[str, ...]]:
    """The words of each dockwright command line on the pages, up to the first quoted one."""
    lines = [line for page in PAGES for block in blocks(page, "console") for line in block.splitlines()]
    typed = (re.sub(r"\s+#.*", "", line[2:]).split() for line in lines if line.startswith("$ dockwright"))
    return {tuple(words[1:]) for words in typed}


@pytest.mark.parametrize("command", sorted({words[0] for words in commands()}))
def test_each_command_and_option_on_the_pages_exists(command: str) -> None:
    told = subprocess.run([PROGRAM, command, "--help"], capture_output=True, text=True, check=True).stdout
    words = {word for words in commands() if words[0] == command for word in words}
    options = {word for word in words if re.fullmatch(r"-{1,2}[a-zA-Z][\w-]*", word)}
    assert {option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", told)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text("utf-8"))
    assert [link for link, _ in links if link and not (page.parent / link).exists()] == []


def test_each_target_on_the_pages_is_in_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    typed = {
        name for page in PAGES for block in blocks(page, "console") for name in re.findall(r"\$ make (\w+)", block)
    }
    assert typed - targets == set()


def test_the_configuration_on_the_pages_can_be_loaded(tmp_path: Path) -> None:
    for number, block in enumerate(blocks(ROOT / "docs" / "how-to.md", "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        assert Config.load(path).limits.turns == tomllib.loads(block).get("limits", {}).get("turns")


def test_the_persona_on_the_pages_is_one(tmp_path: Path) -> None:
    path = tmp_path / "persona.md"
    path.write_text(blocks(ROOT / "docs" / "how-to.md", "markdown")[0])
    assert lint(path, tuple(TOOLS)) == []


def test_the_exit_codes_on_the_page_are_those_there_are() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "how-to.md").read_text("utf-8"), re.MULTILINE)
    assert {int(row) for row in rows} == {int(code) for code in ExitCode}


def test_files_that_the_security_page_names_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    named = re.findall(r"`((?:tests|sandbox|ui|workspace)/[\w./]*|\w+\.py)`", text)
    places = (ROOT, ROOT / "src" / "dockwright")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def test_the_security_page_names_each_file_of_attacks_and_no_other() -> None:
    named = set(re.findall(r"`tests/adversarial/(test_\w+\.py)`", (ROOT / "SECURITY.md").read_text("utf-8")))
    assert named == {path.name for path in (ROOT / "tests/adversarial").glob("test_*.py")}
