"""Who launched a sandbox, written on everything that was launched, so that what a killed process left can be found."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def owner() -> str:
    """This process: host, its start and PID namespace, process id and when it started, because ids are used again."""
    return f"{socket.gethostname()}:{_boot()}:{_namespace()}:{os.getpid()}:{started(os.getpid())}"


def is_gone(said: str) -> bool:
    """Whether the process that said so is over. Of another host, or of a PID namespace that cannot be seen from here,
    nothing is known: not gone. Of this host before it was started anew nothing is left."""
    words = said.rsplit(":", 4)
    if len(words) != 5 or words[0] != socket.gethostname() or not words[3].isdigit():
        return False
    _, boot, namespace, process, since = words
    if boot != _boot():
        return True
    return namespace == _namespace() and started(int(process)) != since


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def started(process: int) -> str:
    """When a process began, by which it is told from others that had its number: in clock ticks since the machine did.
    "gone" where there is no such process, or only its zombie."""
    try:
        facts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return "gone" if facts[0] in ("Z", "X") else facts[19]
