"""Any image is a sandbox, unmodified: here one with a static busybox and nothing else, no libc, no git, no Python."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conftest import RUNTIME

from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.sandbox.docker import Docker
from dockwright.sandbox.engine import LABEL, connect
from dockwright.testing.conformance import CHECKS, Check

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def busybox_image() -> str:
    binary = Path("/bin/busybox").read_bytes()
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, check=True, text=True).stdout.split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(binary), 0o755
        tar.addfile(entry, io.BytesIO(binary))
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                tar.addfile(link)
        stale = tarfile.TarInfo("workspace/stale.txt")
        stale.size = 4
        tar.addfile(stale, io.BytesIO(b"old\n"))
        data = tarfile.TarInfo("data")
        data.type, data.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(data)
    client = connect()
    try:
        client.api.import_image_from_data(
            archive.getvalue(),
            repository="dockwright-test/busybox",
            tag="only",
            changes=["HEALTHCHECK --interval=1s CMD /workspace/healthy", "VOLUME /data/", "VOLUME /tmp"],
        )
    finally:
        client.close()
    return "dockwright-test/busybox:only"


@pytest.fixture(scope="module")
async def bare(busybox_image: str) -> AsyncIterator[Sandbox]:
    async with open_sandbox(Docker(busybox_image, "test-busybox", runtime_image=RUNTIME)) as sandbox:
        yield sandbox


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_an_image_with_nothing_but_busybox_conforms(bare: Sandbox, check: Check) -> None:
    await bare.exec(["sh", "-c", "rm -rf /workspace/* /workspace/.[!.]*"])
    await check(bare)


async def test_our_git_and_rg_work_where_the_image_has_none(bare: Sandbox) -> None:
    await bare.write("/workspace/a.txt", b"needle\n")
    found = await bare.exec(["/opt/dockwright/bin/rg", "--no-config", "-l", "needle", "."])
    made = await bare.exec(["/opt/dockwright/bin/git", "init", "-q", "repo"])
    assert (found.stdout, made.exit_code, bare.shell) == (b"./a.txt\n", 0, "sh")


async def test_what_an_image_has_in_the_workspace_is_not_taken_for_the_users(busybox_image: str) -> None:
    async with open_sandbox(Docker(busybox_image, "test-stale", runtime_image=RUNTIME)) as sandbox:
        assert (await sandbox.exec(["ls", "-A", "/workspace"])).stdout == b""


async def test_the_agent_cannot_fill_a_volume_that_an_image_declares(bare: Sandbox) -> None:
    written = await bare.exec(["sh", "-c", "ls -ld /data && echo big > /data/file"])
    assert (written.stdout[:10], written.exit_code) == (b"drwxrwxrwt", 1)
    assert b"Read-only file system" in written.stderr


async def test_the_engine_starts_nothing_of_an_image_in_the_sandbox(bare: Sandbox, busybox_image: str) -> None:
    client = connect()
    try:
        assert "Healthcheck" in client.images.get(busybox_image).attrs["Config"]
        assert "Health" not in client.containers.get(f"dockwright-{bare.place.id}").attrs["State"]
    finally:
        client.close()


async def test_a_sandbox_that_is_left_keeps_what_its_image_declares(busybox_image: str) -> None:
    place = Docker(busybox_image, "test-left", runtime_image=RUNTIME)
    async with open_sandbox(place):
        place.left = True
    client = connect()
    try:
        container = client.containers.get("dockwright-test-left")
        volumes = client.volumes.list(filters={"label": f"{LABEL}={place.id}"})
        assert (container.status, len(volumes)) == ("running", 2)
        container.remove(force=True)
        for volume in volumes:
            volume.remove()
    finally:
        client.close()


async def test_nothing_of_a_closed_sandbox_is_left_on_the_engine(busybox_image: str) -> None:
    place = Docker(busybox_image, "test-closed", runtime_image=RUNTIME)
    async with open_sandbox(place):
        pass
    client = connect()
    try:
        mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={place.id}"}
        assert (client.containers.list(all=True, filters=mine), client.volumes.list(filters=mine)) == ([], [])
    finally:
        client.close()
