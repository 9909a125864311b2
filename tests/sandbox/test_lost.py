"""A sandbox that goes away is SandboxLost, at once and with its cause; it is never the output of a command."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from tests.conftest import RUNTIME

from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox import open_sandbox
from dockwright.sandbox.bubblewrap import Bubblewrap
from dockwright.sandbox.docker import Docker


@pytest.mark.docker
async def test_an_image_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match=r"no image no/such:image.*docker pull no/such:image"):
        async with open_sandbox(Docker("no/such:image", "test-none", runtime_image=RUNTIME)):
            pass


async def test_a_root_without_an_interpreter_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="neither /opt/dockwright nor python3, git and rg"):
        async with open_sandbox(Bubblewrap(tmp_path, "test-none")):
            pass


async def test_a_closed_sandbox_leaves_no_folder() -> None:
    place = Bubblewrap(Path("/"), "test-gone")
    async with open_sandbox(place) as sandbox:
        await sandbox.write("/workspace/file", b"x")
        assert len(list(Path(tempfile.gettempdir()).glob("dockwright-test-gone-*"))) == 1
    assert list(Path(tempfile.gettempdir()).glob("dockwright-test-gone-*")) == []
