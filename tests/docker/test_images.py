"""Images that are brought for tasks: loaded when they are needed, gone when their room is, within a budget."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import DockerClient
from tests.e2e.batching import SCRIPTS, Bench, ended

from dockwright.errors import ConfigError
from dockwright.sandbox.engine import connect
from dockwright.sandbox.images import Images
from dockwright.testing.scripted_api import ScriptedApi

pytestmark = pytest.mark.docker
BUSYBOX = Path("/bin/busybox").read_bytes()
DATA = 2_000_000
SIZE = DATA + len(BUSYBOX)


class Archives:
    """Images of a known size that the engine does not have, each as `docker save` writes it, with a shell in it."""

    def __init__(self, folder: Path, number: int) -> None:
        self.ids: list[str] = []
        self.paths: list[str] = []
        client = connect()
        try:
            for index in range(number):
                name = f"dockwright-test/unique-{secrets.token_hex(4)}"
                self.ids.append(self._import(client, name))
                path = folder / f"{index}.tar"
                path.write_bytes(b"".join(client.images.get(f"{name}:only").save(named=True)))
                client.images.remove(f"{name}:only")
                self.paths.append(str(path))
        finally:
            client.close()

    def _import(self, client: DockerClient, name: str) -> str:
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, data in (("data", os.urandom(DATA)), ("bin/busybox", BUSYBOX)):
                entry = tarfile.TarInfo(path)
                entry.size, entry.mode = len(data), 0o755
                tar.addfile(entry, io.BytesIO(data))
            shell = tarfile.TarInfo("bin/sh")
            shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(shell)
        client.api.import_image(src=archive.getvalue(), repository=name, tag="only")
        return str(client.images.get(f"{name}:only").id)

    def there(self) -> list[int]:
        """Which of them the engine has."""
        client = connect()
        try:
            known = set(client.api.images(quiet=True))
        finally:
            client.close()
        return [index for index, id_ in enumerate(self.ids) if id_ in known]

    def remove(self) -> None:
        client = connect()
        try:
            for index in self.there():
                client.images.remove(self.ids[index], force=True)
        finally:
            client.close()


@pytest.fixture
def archives(tmp_path: Path) -> Iterator[Archives]:
    made = Archives(tmp_path, 5)
    yield made
    made.remove()


async def test_all_tasks_pass_under_a_budget_that_holds_three_of_their_images(archives: Archives) -> None:
    images = Images(budget=SIZE * 10 // 3)
    most = 0

    async def task(path: str) -> str | None:
        nonlocal most
        async with images.held(path) as name:
            there = await asyncio.to_thread(archives.there)
            most = max(most, len(there))
            assert name in [archives.ids[index] for index in there]
            return name

    async with asyncio.timeout(120):
        names = await asyncio.gather(*(task(path) for path in archives.paths * 2))
    assert names == archives.ids * 2
    assert (most <= 3, images.size <= SIZE * 10 // 3) == (True, True)
    await images.close()
    assert archives.there() == []


async def test_a_batch_keeps_within_the_disk_that_it_was_given(archives: Archives, tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(*((f"t{number}", "works", {"image": path}) for number, path in enumerate(archives.paths)))
        process = await bench.start("-j", "3", "--disk", f"{SIZE * 10 // 3}B")
        ending = asyncio.create_task(ended(process))
        most = 0
        while not (await asyncio.wait([ending], timeout=0.05))[0]:
            most = max(most, len(await asyncio.to_thread(archives.there)))
    assert (await ending)[::2] == (0, "")
    assert set(bench.statuses().values()) == {"verified"}
    assert (1 <= most <= 3, archives.there()) == (True, [])


async def test_the_image_that_was_not_used_for_longest_goes_first(archives: Archives) -> None:
    images = Images(budget=SIZE * 10 // 3)
    for index in (0, 1, 2, 0, 3):
        async with images.held(archives.paths[index]):
            pass
    assert archives.there() == [0, 2, 3]
    await images.close()


async def test_an_image_that_was_there_before_is_never_removed(archives: Archives) -> None:
    client = connect()
    try:
        with Path(archives.paths[0]).open("rb") as file:
            client.images.load(file)
    finally:
        client.close()
    images = Images(budget=SIZE * 3 // 2)
    for index in (0, 1, 2):
        async with images.held(archives.paths[index]):
            pass
    await images.close()
    assert archives.there() == [0]


async def test_an_image_larger_than_the_budget_is_told(archives: Archives) -> None:
    images = Images(budget=SIZE // 2)
    with pytest.raises(ConfigError, match=r"does not fit into the budget of .* GB for images. Give more with --disk"):
        async with images.held(archives.paths[0]):
            pass
    assert archives.there() == []


async def test_names_are_left_to_the_engine() -> None:
    async with Images(budget=1).held("some/image:tag") as name, Images().held(None) as none:
        assert (name, none) == ("some/image:tag", None)
