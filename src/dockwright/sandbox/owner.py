"""Who launched a sandbox, written on everything that was launched, so that what a killed process left can be found."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner() -> str:
    """This process: host, process id and when it started, because ids are used again."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def is_gone(said: str) -> bool:
    """Whether the process that said so is over. Of another host nothing is known: not gone."""
    host, _, process = said.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not process.isdigit():
        return False
    return _started(int(process)) != said.rpartition(":")[2]


def _started(process: int) -> str:
    """In clock ticks since the machine did; "gone" where there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "gone"
