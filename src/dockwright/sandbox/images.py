"""Images that are brought to the engine for single tasks, within a budget of its disk.

What was there before is never touched. What was brought goes again when its room is needed, the least recently used
first, and never while a task uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox.engine import connect, find_image, in_thread, persist

if TYPE_CHECKING:
    from docker import DockerClient

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst")
_LOAD_SECONDS = 1800


@dataclass
class _Brought:
    """`size` is in bytes: what the archive says before it is loaded, what the engine says after. `users` are tasks."""

    size: int
    id: str = ""
    users: int = 0
    used: int = 0


def is_archive(image: str) -> bool:
    return image.endswith(ARCHIVES)


class Images:
    """`budget` is in bytes, None for no end. An image is a name that the engine knows, or the path of an archive made
    by `docker save`, which is loaded when a task needs it; with `pull` names are pulled where the engine has none.
    `address` is that of the engine."""

    def __init__(self, budget: int | None = None, *, pull: bool = False, address: str | None = None) -> None:
        self._budget, self._pull, self._address = budget, pull, address
        self._brought: dict[str, _Brought] = {}
        self._taking = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._clock = 0

    @property
    def size(self) -> int:
        """Bytes of what was brought and is still there."""
        return sum(image.size for image in self._brought.values())

    @asynccontextmanager
    async def held(self, image: str | None) -> AsyncIterator[str | None]:
        """The name or id to start a container with; the image stays until the block ends. Waits for room.
        Raises ConfigError where it cannot be had or is larger than the whole budget."""
        if image is None or not (is_archive(image) or self._pull):
            yield image
            return
        brought = await self._take(image)
        try:
            yield brought.id if brought else image
        finally:
            if brought:
                async with self._changed:
                    brought.users -= 1
                    self._clock += 1
                    brought.used = self._clock
                    self._changed.notify_all()

    async def missing(self, names: Sequence[str]) -> list[str]:
        """Which of these the engine does not have. Raises SandboxError."""
        return await in_thread(lambda: [name for name in names if _size_of(name, self._address) is None])

    async def close(self) -> None:
        """Remove all that was brought."""
        async with self._changed:
            for key in list(self._brought):
                with suppress(SandboxError):
                    await self._remove(key)

    async def _take(self, image: str) -> _Brought | None:
        async with self._taking, self._changed:  # one at a time, for what the disk holds is known only between two
            if image not in self._brought:
                if not is_archive(image) and await in_thread(lambda: _size_of(image, self._address)) is not None:
                    return None
                expected = await asyncio.to_thread(_size_on_disk, image) if is_archive(image) else 0
                await self._make_room(expected, image)
                self._brought[image] = _Brought(expected)
                try:
                    await self._bring(image)
                except BaseException:
                    del self._brought[image]
                    raise
                await self._make_room(0, image)
            self._brought[image].users += 1
            return self._brought[image]

    async def _bring(self, image: str) -> None:
        load = _load if is_archive(image) else _pull
        found = self._brought[image]
        found.id, found.size, was_there = await in_thread(lambda: load(image, self._address), seconds=_LOAD_SECONDS)
        if was_there:  # somebody else's under another name, so not ours to remove
            found.size, found.users = 0, found.users + 1

    async def _make_room(self, size: int, wanted: str) -> None:
        if self._budget is None:
            return
        while self.size + size > self._budget:
            idle = [key for key, image in self._brought.items() if not image.users and key != wanted]
            if idle:
                await self._remove(min(idle, key=lambda key: self._brought[key].used))
            elif any(image.users for key, image in self._brought.items() if key != wanted and image.size):
                await self._changed.wait()
            else:
                raise ConfigError(
                    f"The image {wanted} does not fit into the budget of {self._budget / 1e9:.1f} GB for images. "
                    "Give more with --disk."
                )

    async def _remove(self, key: str) -> None:
        image = self._brought.pop(key)
        if image.size:
            await in_thread(lambda: _remove(image.id, self._address))


# in threads


def _size_on_disk(archive: str) -> int:
    try:
        return Path(archive).stat().st_size
    except OSError as error:
        raise ConfigError(f"Reading the image {archive} failed: {error.strerror}. Check the path.") from error


def _size_of(name: str, address: str | None) -> int | None:
    client = connect(address=address)
    try:
        return int(find_image(client, name).attrs["Size"])
    except ConfigError:
        return None
    finally:
        client.close()


def _load(archive: str, address: str | None) -> tuple[str, int, bool]:
    client = connect(_LOAD_SECONDS, address)
    try:
        before = _ids(client)
        with Path(archive).open("rb") as file:
            loaded = client.images.load(file)
        if len(loaded) != 1:
            raise ConfigError(f"{archive} holds {len(loaded)} images, not one. Save each image into its own archive.")
        return str(loaded[0].id), int(loaded[0].attrs["Size"]), loaded[0].id in before
    finally:
        client.close()


def _pull(name: str, address: str | None) -> tuple[str, int, bool]:
    client = connect(_LOAD_SECONDS, address)
    try:
        image = (
            client.images.pull(name)
            if "@" in name or ":" in name.rpartition("/")[2]
            else client.images.pull(name, "latest")
        )
        return str(image.id), int(image.attrs["Size"]), False
    finally:
        client.close()


def _ids(client: DockerClient) -> set[str]:
    return set(client.api.images(quiet=True))


def _remove(id_: str, address: str | None) -> None:
    client = connect(address=address)
    try:
        persist(lambda: client.images.remove(id_, force=True))
    finally:
        client.close()
