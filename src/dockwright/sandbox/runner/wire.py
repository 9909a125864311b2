"""Frames, as both ends know them: length u32, kind u8, stream u32 (network order), payload.

Calls and answers are JSON, data is raw bytes. Each stream has a window of its own: a side sends at most WINDOW bytes of
DATA, ERR and LIVE that the other has not given credit for, so one slow reader never holds up another. The host opens
streams with odd numbers, the runner with even ones.
"""

from __future__ import annotations

import struct

OPEN, DATA, ERR, END, DONE, FAIL, CREDIT, CANCEL, LIVE = range(9)
HEADER = struct.Struct("!IBI")
NUMBER = struct.Struct("!I")
CHUNK, WINDOW, MAX_FRAME = 1 << 16, 1 << 18, 1 << 24


class Frames:
    """Takes bytes as they come, gives whole frames. Raises ValueError for one that is larger than any may be."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        self._bytes += data
        found, at = [], 0
        while len(self._bytes) - at >= HEADER.size:
            size, kind, stream = HEADER.unpack_from(self._bytes, at)
            if size > MAX_FRAME:
                raise ValueError(f"a frame of {size} bytes")
            end = at + HEADER.size + size
            if len(self._bytes) < end:
                break
            found.append((kind, stream, bytes(self._bytes[at + HEADER.size : end])))
            at = end
        del self._bytes[:at]
        return found


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(len(payload), kind, stream) + payload
