"""Removes what processes that were killed left behind: containers, volumes, networks, images and folders, each by its
owner's label.

What belongs to a process that is alive, here or on another host, or to another user, is never touched.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dockwright.errors import SandboxError
from dockwright.sandbox.bubblewrap import OWNER_FILE, PREFIX, discard
from dockwright.sandbox.engine import LABEL, OWNER, connect, persist
from dockwright.sandbox.owner import is_gone
from dockwright.services.setup import SETUP_LABEL

_UNOWNED_SECONDS = 3600  # a folder is given its owner right after it is made
_STALE_SECONDS = 24 * 3600  # no step that writes a temporary file takes that long
_TEMPORARY = (
    "tmp*",
    ".*.json.*",
    "objects.git/objects/pack/tmp_*",
    "objects.git/objects/*/tmp_*",
    "objects.git/*.lock",
)


class Leftover(NamedTuple):
    what: str
    remove: Callable[[], object]


class _Thing(NamedTuple):
    what: str
    labels: Mapping[str, str]
    remove: Callable[[], object]


def leftovers(runs: Path) -> Iterator[Leftover]:
    """Containers before the volumes that they hold. Without an engine only folders. `runs` is where runs are kept."""
    yield from _of_the_engine()
    for folder in sorted(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        if _is_left(folder):
            yield Leftover(f"folder {folder}", partial(discard, folder))
    for pattern in _TEMPORARY:
        for path in sorted(runs.glob(f"*/{pattern}")):
            if _age(path) > _STALE_SECONDS:
                yield Leftover(f"temporary {path}", partial(_remove, path))
    for pattern in ("open-*", "setup-*"):  # of a sandbox beside the run, with a journal of its own
        for path in sorted(runs.glob(f"*/{pattern}")):
            if _age(path) > _UNOWNED_SECONDS and not _is_held(path / "journal.jsonl"):
                yield Leftover(f"temporary {path}", partial(_remove, path))


def _is_held(journal: Path) -> bool:
    """Whether a process is writing it."""
    try:
        with open(os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _is_left(folder: Path) -> bool:
    """A real folder of this user's, whose owner is gone, or which was never given one."""
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        return False
    try:
        with open(os.open(folder / OWNER_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as file:
            said = file.read(1000)
    except FileNotFoundError:
        said = ""
    except OSError:
        return False
    return is_gone(said) or (not said and _age(folder) > _UNOWNED_SECONDS)


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
    mine: dict[str, str | list[str] | bool] = {"label": OWNER}
    things: list[_Thing] = []
    try:
        for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
            remove: Callable[[], object] = partial(container.remove, force=True, v=True)
            things.append(_Thing(f"container {container.name}", container.labels, remove))
        things += (
            _Thing(f"network {network.name}", network.attrs.get("Labels") or {}, network.remove)
            for network in client.networks.list(filters=mine)
        )
        for volume in client.volumes.list(filters=mine):
            remove = partial(volume.remove, force=True)
            things.append(_Thing(f"volume {volume.name}", volume.attrs.get("Labels") or {}, remove))
        for image in client.images.list(filters=mine):
            remove = partial(client.images.remove, str(image.id), force=True)
            things.append(_Thing(f"image {(image.tags or [image.short_id])[0]}", image.labels, remove))
        gone = [is_gone(thing.labels.get(OWNER, "")) for thing in things]
        used = {thing.labels.get(LABEL) for thing, over in zip(things, gone, strict=True) if not over}
        for thing, over in zip(things, gone, strict=True):
            if over and thing.labels.get(LABEL) not in used:  # else a run that goes on has taken it over
                yield Leftover(thing.what, partial(persist, thing.remove))
    finally:
        client.close()
