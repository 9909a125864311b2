"""What an engine makes of the output of a program that we are attached to; what the runner said is taken out of it."""

from __future__ import annotations

import asyncio

from dockwright.sandbox.channel import Channel

RUNNER_ENDED = b"dockwright: the runner ended\n"


class Demultiplexer(asyncio.Protocol):
    """The engine's framing of stdout and stderr (type u8, three zero bytes, length u32) taken off as bytes come."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._header, self._left, self._kind = bytearray(), 0, 0
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._channel.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            if self._left == 0:
                need = 8 - len(self._header)
                self._header += data[at : at + need]
                at += need
                if len(self._header) < 8:
                    return
                self._kind, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                self._header.clear()
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            if self._kind == 1:
                self._channel.data_received(piece)
            elif piece == RUNNER_ENDED and self._transport is not None:
                self._transport.close()
            else:
                self._channel.diagnostics += piece
                del self._channel.diagnostics[: -(1 << 14)]

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel.connection_lost(exc)

    def pause_writing(self) -> None:
        self._channel.pause_writing()

    def resume_writing(self) -> None:
        self._channel.resume_writing()
