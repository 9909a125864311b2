"""One question to a service, in its own words, over the sandbox's channel: as the agent's programs reach it.

It is asked after each step whether its data changed, so asking must cost milliseconds; a client program run by the
engine costs a hundred times that. What comes back is untrusted: it is bounded, and nothing but compared.
"""

from __future__ import annotations

import asyncio
import re
import struct

from dockwright.sandbox import Sandbox

_MOST = 1 << 20
_SECONDS = 10


async def postgres(sandbox: Sandbox, port: int, user: str, query: str) -> str:
    """The first field of the first row of an answer. Raises OSError where there is none, with what the server said.

    Messages as in "Frontend/Backend Protocol" of PostgreSQL's documentation, version 3.0; the server trusts us."""
    who = f"user\0{user}\0database\0postgres\0\0".encode()
    asked = query.encode() + b"\0"
    request = struct.pack(">II", 8 + len(who), 3 << 16) + who
    request += b"Q" + struct.pack(">I", 4 + len(asked)) + asked + b"X" + struct.pack(">I", 4)
    data = await _ask(sandbox, port, request)
    field, at = "", 0
    while at + 5 <= len(data):
        kind, size = data[at : at + 1], int.from_bytes(data[at + 1 : at + 5], "big")
        body = data[at + 5 : at + 1 + size]
        match kind:
            case b"E":
                said = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
                raise OSError(said.get(b"M", "it refused"))
            case b"D" if not field:
                field = body[6 : 6 + int.from_bytes(body[2:6], "big", signed=True)].decode("utf-8", "replace")
            case b"Z" if at + 1 + size >= len(data):
                return field
        at += 1 + size
    raise OSError("it ended the connection before it had answered")


async def redis(sandbox: Sandbox, port: int) -> str:
    """How much was ever written, after a PING. Raises OSError where it does not answer, or loads still."""
    said = (await _ask(sandbox, port, b"PING\r\nINFO persistence\r\nQUIT\r\n")).decode("utf-8", "replace")
    if not said.startswith("+PONG"):
        raise OSError(said.splitlines()[0].lstrip("-") if said else "it ended the connection before it had answered")
    return " ".join(re.findall(r"(?m)^aof_(?:base|current)_size:\d+", said))


async def _ask(sandbox: Sandbox, port: int, request: bytes) -> bytes:
    """What comes until the other end has said all."""
    answer = bytearray()
    async with asyncio.timeout(_SECONDS):
        stream = await sandbox.connect(port)
        try:
            await stream.send(request)
            while data := await stream.receive():
                answer += data
                if len(answer) > _MOST:
                    raise OSError("it said more than was asked for")
        finally:
            stream.cancel()
    return bytes(answer)
