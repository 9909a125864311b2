"""TCP on loopback, for tunnels."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from dockwright.sandbox.runner.loop import Cancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from dockwright.sandbox.runner.loop import Coro, Loop

REST_SECONDS = 1.0  # after a connection could not be taken, because there are too many


async def connected(loop: Loop, port: int) -> socket.socket:
    """To whoever listens on this port of "localhost", which is ::1 first for some."""
    try:
        return await _connected(loop, "127.0.0.1", port)
    except ConnectionRefusedError as refused:
        try:
            return await _connected(loop, "::1", port)
        except OSError:
            raise refused from None


async def _connected(loop: Loop, address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        number = sock.connect_ex((address, port))
        if number == errno.EINPROGRESS:
            await loop.writable(sock.fileno())
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


def listen(loop: Loop, port: int, accepted: Callable[[socket.socket], None]) -> None:
    server = socket.create_server(("127.0.0.1", port), backlog=100)
    server.setblocking(False)

    def accept() -> None:
        try:
            sock, _ = server.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            loop.remove_reader(server.fileno())
            loop.call_later(REST_SECONDS, go_on)
            return
        sock.setblocking(False)
        accepted(sock)

    def go_on() -> None:
        loop.add_reader(server.fileno(), accept)

    go_on()


async def send(loop: Loop, sock: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            await loop.writable(sock.fileno())


async def receive(loop: Loop, sock: socket.socket, size: int) -> bytes:
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await loop.readable(sock.fileno())


async def both(loop: Loop, *coroutines: Coro) -> None:
    """Carry out all of them; where one ends by an OSError, so do the others."""
    over, left = loop.create_future(), len(coroutines)

    async def one(coroutine: Coro) -> None:
        nonlocal left
        try:
            await coroutine
        except OSError:
            over.wake()
        left -= 1
        if left == 0:
            over.wake()

    tasks = [loop.create_task(one(coroutine)) for coroutine in coroutines]
    try:
        await over
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(Cancelled):
                await task
