"""Frames, as both ends know them: length u32, kind u8, stream u32 (network order), payload.

Calls and answers are JSON, data is raw bytes. Each stream has a window of its own: a side sends at most WINDOW bytes of
DATA, ERR and LIVE that the other has not given credit for, so one slow reader never holds up another. Credit is given
for BATCH bytes at once. The host opens streams with odd numbers, the runner with even ones.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

OPEN, DATA, ERR, END, DONE, FAIL, CREDIT, CANCEL, LIVE = range(9)
HEADER = struct.Struct("!IBI")
NUMBER = struct.Struct("!I")
CHUNK, WINDOW, BATCH = 1 << 16, 1 << 20, 1 << 18
MAX_FRAME, MAX_ANSWER = 1 << 24, 1 << 17  # of the host's; of the runner's, which is not trusted


class Frames:
    """Takes bytes as they come, gives whole frames. Raises ValueError for one that is larger than `most` bytes."""

    def __init__(self, most: int = MAX_FRAME) -> None:
        self._most = most
        self._pieces: list[bytes] = []  # of a frame that is not whole yet
        self._have, self._need = 0, HEADER.size

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        self._pieces.append(data)
        self._have += len(data)
        if self._have < self._need:
            return
        data, at = b"".join(self._pieces), 0
        self._need = HEADER.size
        while len(data) - at >= HEADER.size:
            size, kind, stream = HEADER.unpack_from(data, at)
            if size > self._most:
                raise ValueError(f"a frame of {size} bytes")
            end = at + HEADER.size + size
            if len(data) < end:
                self._need = end - at
                break
            yield kind, stream, data[at + HEADER.size : end]
            at = end
        self._pieces, self._have = [data[at:]], len(data) - at


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(payload), kind, stream) + payload
