"""Removes what processes that were killed left behind: containers, volumes and folders, each by its owner's label.

What belongs to a process that is alive, here or on another host, is never touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dockwright.errors import SandboxError
from dockwright.sandbox.bubblewrap import OWNER_FILE, PREFIX
from dockwright.sandbox.engine import LABEL, OWNER, connect, persist
from dockwright.sandbox.owner import is_gone
from dockwright.services.setup import SETUP_LABEL


class Leftover(NamedTuple):
    what: str
    remove: Callable[[], object]


def leftovers() -> Iterator[Leftover]:
    """Containers before the volumes that they hold. Without an engine only folders."""
    yield from _of_the_engine()
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        try:
            said = (folder / OWNER_FILE).read_text()
        except OSError:
            continue
        if is_gone(said):
            yield Leftover(f"folder {folder}", partial(shutil.rmtree, folder, ignore_errors=True))


def images() -> Iterator[Leftover]:
    """The images that setups made: each is made again when it is needed."""
    client = connect()
    try:
        for image in client.images.list(filters={"label": SETUP_LABEL}):
            name = image.tags[0] if image.tags else str(image.short_id)
            yield Leftover(f"image {name}", partial(client.images.remove, name))
    finally:
        client.close()


def _of_the_engine() -> Iterator[Leftover]:
    try:
        client = connect()
    except SandboxError:
        return
    mine: dict[str, str | list[str] | bool] = {"label": LABEL}
    try:
        containers = [
            (container, container.labels)
            for container in client.containers.list(all=True, filters=mine, ignore_removed=True)
        ]
        volumes = [(volume, volume.attrs.get("Labels") or {}) for volume in client.volumes.list(filters=mine)]
        everything = [labels for _, labels in (*containers, *volumes)]
        in_use = {labels.get(LABEL) for labels in everything if not _is_gone(labels)}  # taken over by a resumed run
        for container, labels in containers:
            if _is_gone(labels) and labels.get(LABEL) not in in_use:
                yield Leftover(
                    f"container {container.name}", partial(persist, partial(container.remove, force=True, v=True))
                )
        for volume, labels in volumes:
            if _is_gone(labels) and labels.get(LABEL) not in in_use:
                yield Leftover(f"volume {volume.name}", partial(persist, partial(volume.remove, force=True)))
    finally:
        client.close()


def _is_gone(labels: Mapping[str, str]) -> bool:
    return is_gone(labels.get(OWNER, ""))
