"""Files that are there whole or not at all, whatever crashes when."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

from dockwright.journal import sync_folder


def write_durably(path: Path, data: bytes) -> None:
    """Write beside, sync, rename, sync the folder. The file's mode is 0600."""
    fd, beside = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.replace(beside, path)
    sync_folder(path.parent)
