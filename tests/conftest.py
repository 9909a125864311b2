"""Sandboxes for tests: one of each kind for the whole run, with an empty workspace for each test."""

from __future__ import annotations

import fcntl
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dockwright.sandbox import Place, Sandbox, open_sandbox
from dockwright.sandbox.bubblewrap import Bubblewrap
from dockwright.sandbox.docker import Docker

WORKBENCH, RUNTIME = "dockwright/workbench:latest", "dockwright/runtime:latest"
ROOTFS = Path(os.environ.get("DOCKWRIGHT_ROOTFS", "/var/cache/dockwright/rootfs"))
BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)]


def new_place(backend: str, image: str = WORKBENCH, **limits: int) -> Place:
    """A place that nobody else uses; the caller opens and closes it. `limits` are memory, pids, disk and inodes."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    if backend == "docker":
        return Docker(image, name, runtime_image=RUNTIME, oci_runtime=None, again=False, guard=None, **limits)
    return Bubblewrap(ROOTFS if ROOTFS.exists() else Path("/"), name, again=False, **limits)


@pytest.fixture(autouse=True)
def _by_turns(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that collects what killed processes left behind runs while no other test may have left something that it
    wants to come back to. Who waits for that holds the door, or it would wait until the others are all done."""
    mine = Path(tempfile.gettempdir(), f".dockwright-tests-{os.getuid()}")
    collects = request.node.get_closest_marker("collects")
    with mine.with_suffix(".door").open("w") as door, mine.with_suffix(".turn").open("w") as turn:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(turn, fcntl.LOCK_EX if collects else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@pytest.fixture(scope="session", params=BACKENDS)
async def shared_sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with open_sandbox(new_place(request.param)) as sandbox:
        yield sandbox


@pytest.fixture
async def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """A sandbox of each backend in turn, with nothing in /workspace and no process of the test before."""
    await shared_sandbox.exec(["find", "/workspace", "-mindepth", "1", "-delete"])
    return shared_sandbox


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn, for tests that launch and break places of their own."""
    return str(request.param)
