"""The tests of a Harbor task as a check: they find their files in the sandbox, and their reward decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockwright.sandbox import Sandbox
from dockwright.tasks.foreign import harbor
from dockwright.tasks.formats import Entry


@pytest.mark.parametrize(
    ("test", "passes"),
    [
        ("exit 0\n", True),
        ("exit 1\n", False),
        ("echo 1 > /logs/verifier/reward.txt; exit 1\n", True),
        ("echo 0.5 > /logs/verifier/reward.txt\n", False),
        ("grep -q words '/tests/data.txt' && cd /app && ls my/tests && echo 1.0 > /logs/verifier/reward.txt\n", True),
    ],
)
async def test_the_reward_of_a_harbor_task_is_the_end_of_its_check(
    sandbox: Sandbox, tmp_path: Path, test: str, *, passes: bool
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "task.toml").write_text("")
    (tmp_path / "tests/test.sh").write_text(test)
    (tmp_path / "tests/data.txt").write_text("words\n")
    (task,) = harbor(tmp_path)
    assert isinstance(task, Entry)
    check = task.values["check"]
    assert isinstance(check, list)
    await sandbox.exec(["sh", "-c", "rm -rf /tmp/harbor; mkdir -p /workspace/my/tests"])

    ended = await sandbox.exec(["sh", "-c", str(check[0])])

    assert (ended.exit_code == 0) is passes, ended.stderr
