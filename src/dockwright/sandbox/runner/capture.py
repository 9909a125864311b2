"""What a command prints: what is shown of it, and where the rest is."""

from __future__ import annotations

import os

SPILL_AFTER, SPILL_CAP = 1 << 13, 1 << 28


class Capture:
    """The first and last bytes of what a command prints, and all of it in a file once it is more than a little."""

    def __init__(self, limit: int, path: str, at_once: bool = False) -> None:
        self.half, self.path, self.fd, self.spilled = max(limit // 2, 1), path, -1, False
        self.head, self.tail, self.size, self.kept = bytearray(), bytearray(), 0, bytearray()
        self.stored = 0
        if at_once:
            self.spill()

    def spill(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self.spilled = True
        except OSError:
            self.path = ""
        self.store(bytes(self.kept))
        self.kept.clear()

    def store(self, data: bytes) -> None:
        if self.fd >= 0 and self.size <= SPILL_CAP:
            try:
                self.stored += os.write(self.fd, data)
            except OSError:  # the disk is full: the head and the tail are still told
                self.close()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[max(room, 0) :]
        if len(self.tail) > 2 * self.half:
            del self.tail[: len(self.tail) - self.half]
        if self.path and not self.spilled:
            self.kept += data
            if len(self.kept) > SPILL_AFTER:
                self.spill()
        else:
            self.store(data)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def shown(self) -> bytes:
        return bytes(self.head + self.tail[-self.half :])
