"""Ports of a sandbox on the host's loopback, for as long as somebody looks. It needs no network: connections are calls.

The process that holds the sandbox takes connections at a socket in the run's folder, which is the user's alone; whoever
opens a port, in that process or another one, carries the connections of a browser to it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path

from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox import Sandbox
from dockwright.sandbox.channel import ChannelLost, Stream

_SOCKET = "tunnel.sock"
_PIECE = 1 << 16
_UNTIL_THE_END = 0  # in place of a port: a connection that says nothing and lasts
Tell = Callable[[str], None]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class NotRunningError(Exception):
    """No process holds a sandbox of this run."""


@asynccontextmanager
async def take_connections(folder: Path, sandbox: Sandbox) -> AsyncIterator[None]:
    """Let those who can open `folder` reach ports of the sandbox. One line tells which; the answer is a line, too."""

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            port = int(await reader.readline())
            if port == _UNTIL_THE_END:
                writer.write(b"\n")
                await asyncio.Event().wait()
            stream = await sandbox.connect(port)
        except (OSError, SandboxError, ValueError) as error:
            writer.write(f"{getattr(error, 'strerror', None) or error}".replace("\n", " ").encode() + b"\n")
        else:
            writer.write(b"\n")
            await _splice(reader, writer, stream)
        finally:
            writer.close()

    async def listen(talk: Talk) -> asyncio.Server:
        with _short(folder) as path:
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(talk, path)
            path.chmod(0o600)
        return server

    try:
        async with _serving(listen, taken):
            yield
    finally:
        (folder / _SOCKET).unlink(missing_ok=True)


@asynccontextmanager
async def open_port(folder: Path, port: int, host_port: int | None, tell: Tell) -> AsyncIterator[int]:
    """A port of the run's sandbox on 127.0.0.1; which one is yielded: `host_port`, else the same one if it is free,
    else any. Raises NotRunningError where no process holds the sandbox, ConfigError where `host_port` is taken."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner, outer, refused = await _reach(folder, port)
        except NotRunningError:
            refused = "the run is over"
        if refused:
            tell(f"port {port} in the sandbox: {refused}")
            writer.close()
            return
        try:
            with suppress(OSError):
                await asyncio.gather(_copy(reader, outer), _copy(inner, writer))
        finally:
            outer.close()
            writer.close()

    _, writer, _ = await _reach(folder, port)
    writer.close()
    async with _serving(partial(_listen, port, host_port), carry) as server:
        yield int(server.sockets[0].getsockname()[1])


async def is_over(folder: Path) -> None:
    """Wait until the process that holds the sandbox of this run has let it go."""
    reader, writer, _ = await _reach(folder, _UNTIL_THE_END)
    await reader.read()
    writer.close()


@asynccontextmanager
async def _serving(listen: Callable[[Talk], Awaitable[asyncio.Server]], talk: Talk) -> AsyncIterator[asyncio.Server]:
    """A server that carries its connections until the end of the block, and then none of them."""
    tasks: set[asyncio.Task[None]] = set()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        if current:
            tasks.add(current)
            current.add_done_callback(tasks.discard)
        await talk(reader, writer)

    server = await listen(taken)
    try:
        yield server
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(port: int, host_port: int | None, talk: Talk) -> asyncio.Server:
    for wanted in (host_port,) if host_port is not None else (port, 0):
        try:
            return await asyncio.start_server(talk, "127.0.0.1", wanted)
        except OSError as error:
            problem = error
    raise ConfigError(f"Port {host_port} of this machine cannot be had: {problem.strerror}. Name another, or none.")


async def _reach(folder: Path, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """A connection to a port in the sandbox, and why there is none; "" where there is."""
    try:
        with _short(folder) as path:
            reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise NotRunningError from error
    writer.write(b"%d\n" % port)
    answer = await reader.readline()
    return reader, writer, "" if answer == b"\n" else answer.decode("utf-8", "replace").strip() or "the run is over"


async def _splice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: Stream) -> None:
    """Both ways until both have ended; each may end before the other."""

    async def inwards() -> None:
        while data := await reader.read(_PIECE):
            await stream.send(data)
        stream.send_end()

    async def outwards() -> None:
        while data := await stream.receive():
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    try:
        with suppress(OSError, ChannelLost):
            await asyncio.gather(inwards(), outwards())
    finally:
        with suppress(ChannelLost):
            stream.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextmanager
def _short(folder: Path) -> Iterator[Path]:
    """The path of the socket; one of over a hundred characters would be none."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{opened}") / _SOCKET
    finally:
        os.close(opened)
