"""The workspace needs nothing of an image: it enters, is checkpointed and restored where there is only a busybox."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docker.test_any_image import bare, busybox_image
from tests.repositories import new_repository, tree

from dockwright.sandbox import Sandbox
from dockwright.workspace import snapshot

__all__ = ["bare", "busybox_image"]  # fixtures
pytestmark = pytest.mark.docker


async def test_an_image_without_git_takes_a_workspace(bare: Sandbox, tmp_path: Path) -> None:
    await bare.exec(["sh", "-c", "rm -rf /workspace/* /workspace/.[!.]*"])
    workspace = await snapshot(new_repository(tmp_path / "repo"), tmp_path / "state")
    await workspace.enter(bare)
    start = workspace.last
    await bare.exec(["sh", "-c", "echo new > new.txt; rm README.md; rm -rf ~/.dockwright.git"])
    done = await workspace.checkpoint(bare, "Work")
    assert tree(workspace.quarantine.folder, done.commit) == {
        "new.txt": "100644 new",
        "src/app.py": "100644 print('orders')",
    }
    await workspace.restore(bare, start)
    assert await bare.read("/workspace/README.md") == b"# Orders\n"
