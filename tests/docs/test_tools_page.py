"""docs/tools.md is what the tools say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from dockwright.tools import TOOLS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tools.md").read_text("utf-8")


def test_what_the_tools_say_is_on_the_page_and_is_put_there_by_the_script(tmp_path: Path) -> None:
    copy = tmp_path / "docs/tools.md"
    copy.parent.mkdir()
    copy.write_text(re.sub(r"## Read\n.*(?=<!-- Up to here)", "stale\n", PAGE, flags=re.DOTALL), "utf-8")
    subprocess.run([sys.executable, ROOT / "scripts/tools_page.py"], cwd=tmp_path, check=True)
    assert copy.read_text("utf-8") == PAGE


def test_a_difference_names_tools_that_exist() -> None:
    differences = PAGE.partition("## Deliberate differences")[2]
    rows = re.findall(r"^\| ([\w, ]+) \| .+ \| .+ \|$", differences, re.MULTILINE)[1:]
    named = {name for tools in rows for name in tools.split(", ")}
    assert {"Read", "Bash"} <= named <= {*TOOLS, "all"}
