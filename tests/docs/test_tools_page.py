"""docs/tools.md is what the tools say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dockwright.tools import TOOLS
from dockwright.tools.docs import DIFFERENCES, PAGE, page

ROOT = Path(__file__).parents[2]


def test_the_page_is_fresh() -> None:
    assert (ROOT / PAGE).read_text("utf-8") == page()


def test_a_difference_names_tools_that_exist() -> None:
    named = {name for tools, _, _ in DIFFERENCES for name in tools.split(", ")}
    assert named <= {*TOOLS, "all"}


def test_a_stale_page_is_told_and_written_again(tmp_path: Path) -> None:
    def docs(*args: str) -> int:
        argv = [sys.executable, "-m", "dockwright.tools.docs", *args]
        return subprocess.run(argv, cwd=tmp_path, env=os.environ, check=False, capture_output=True).returncode

    (tmp_path / "docs").mkdir()
    assert [docs("--check"), docs(), docs("--check")] == [1, 0, 0]
    assert (tmp_path / PAGE).read_text("utf-8") == page()
