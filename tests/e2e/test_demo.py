"""`make demo` does the main job without a key: recorded answers, real tools, a real proof."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_ends_verified_and_says_that_the_model_was_recorded(tmp_path: Path, backend: str) -> None:
    env = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
    env |= {"XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config"), "COLUMNS": "110"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py"), "--sandbox", backend],
        env=env, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    said = [
        "the model was recorded", "Alembic migration", "MultiEdit", "52 passed", "GET /health answers 200", "verified",
        "branch", "report",
    ]  # fmt: skip
    assert (done.returncode, [words for words in said if words not in done.stdout]) == (0, []), (
        done.stdout + done.stderr
    )
