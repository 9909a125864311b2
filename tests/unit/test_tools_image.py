"""Sizes of pictures, from headers as they are in real files."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwright.tools.image import Image, parse

EXIF = b"\xff\xe1" + struct.pack(">H", 10) + b"Exif\0\0\xff\xc0"
FRAME = struct.pack(">HBHHB", 17, 8, 480, 640, 3)
RIFF = b"RIFF\0\0\0\0WEBP"

HEADS = {
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480), Image("image/png", 640, 480)),
    "gif": (b"GIF89a" + struct.pack("<HH", 640, 480), Image("image/gif", 640, 480)),
    "jpeg": (b"\xff\xd8" + EXIF + b"\xff\xc0" + FRAME, Image("image/jpeg", 640, 480)),
    "jpeg with tables first": (
        b"\xff\xd8\xff\xdb\0\x04\0\0\xff\xc4\0\x03\0\xff\xff\xc2" + FRAME,
        Image("image/jpeg", 640, 480),
    ),
    "webp": (RIFF + b"VP8 " + bytes(10) + struct.pack("<HH", 640, 480), Image("image/webp", 640, 480)),
    "webp without loss": (
        RIFF + b"VP8L\0\0\0\0\x2f" + struct.pack("<I", 639 | 479 << 14) + bytes(6),
        Image("image/webp", 640, 480),
    ),
    "webp extended": (
        RIFF + b"VP8X" + bytes(8) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little"),
        Image("image/webp", 640, 480),
    ),
    "a png cut short": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", None),
    "a jpeg without a frame": (b"\xff\xd8" + EXIF, None),
    "text": (b"hello", None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("head", "image"), HEADS.values(), ids=HEADS)
def test_head(head: bytes, image: Image | None) -> None:
    assert parse(head) == image


@settings(deadline=None)
@given(st.sampled_from([head for head, _ in HEADS.values()]), st.binary(max_size=40))
def test_any_bytes_are_taken(head: bytes, rest: bytes) -> None:
    parse(head + rest)
    parse(rest)
