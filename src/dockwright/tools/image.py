"""What an image file says of itself in its first bytes. No picture is decoded here, only headers are read."""

from __future__ import annotations

import re
from dataclasses import dataclass

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
HEADER_BYTES = 1 << 18  # JPEG: the size comes after whatever metadata precedes it


@dataclass(frozen=True)
class Image:
    media_type: str
    width: int
    height: int


def parse(head: bytes) -> Image | None:
    """The kind and the size in pixels; None for what is no PNG, JPEG, GIF or WebP."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and head[12:16] == b"IHDR" and len(head) >= 24:
        return Image("image/png", _big(head[16:20]), _big(head[20:24]))
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        return Image("image/gif", _little(head[6:8]), _little(head[8:10]))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp(head)
    if head.startswith(b"\xff\xd8\xff"):
        return _jpeg(head)
    return None


def _webp(head: bytes) -> Image | None:
    match head[12:16]:
        case b"VP8X":
            return Image("image/webp", _little(head[24:27]) + 1, _little(head[27:30]) + 1)
        case b"VP8 ":
            return Image("image/webp", _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF)
        case b"VP8L":
            bits = _little(head[21:25])
            return Image("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return None


def _jpeg(head: bytes) -> Image | None:
    """Walk the segments up to the frame header (SOF0 to SOF15, without the three markers that are something else)."""
    at = 2
    while found := re.compile(rb"\xff+([^\xff\x00])").match(head, at):
        kind, at = found[1][0], found.end()
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            size = head[at + 3 : at + 7]
            return Image("image/jpeg", _big(size[2:]), _big(size[:2])) if len(size) == 4 else None
        at += max(_big(head[at : at + 2]), 2)
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")
