"""What attacks on the gateway need: a secret on this machine, an honest machine beside it, and a careless proxy that
does what the gateway must not do, so that each attack is seen to work somewhere."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

from docker import DockerClient
from docker.models.containers import Container
from tests.conftest import WORKBENCH, new_place

from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.sandbox.dial import Route
from dockwright.sandbox.engine import connect
from dockwright.sandbox.gateway import open_gateway
from dockwright.sandbox.policy import Target

SECRET = b"a secret of the host"
# Answers each connection with all that came on it until it was silent for a while; /to/HOST:PORT redirects there.
_NEIGHBOUR = """
import re, socket, threading
def serve(connection):
    connection.settimeout(0.4)
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except TimeoutError:
        pass
    found = re.match(rb"\\S+ (?:http://[^/]+)?/to/(\\S+)", data)
    head = b"302 Found\\r\\nlocation: http://" + found[1] + b"/" if found else b"200 OK"
    body = b"" if found else data
    connection.sendall(b"HTTP/1.1 %s\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (head, len(body), body))
    connection.close()
for port in (8001, 8002):
    listener = socket.create_server(("", port))
    def accept(listener=listener):
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=accept).start()
print("ready", flush=True)
"""
_CLIENT = """
import socket, sys
s = socket.create_connection(("127.0.0.1", 3128))
s.sendall(sys.stdin.buffer.read())
s.settimeout(20)
while data := s.recv(65536):
    sys.stdout.buffer.write(data)
"""


@contextmanager
def open_network() -> Iterator[str]:
    """The name of a network of the engine's that leads out, made for the occasion."""
    client = connect()
    try:
        network = client.networks.create(f"test-open-{uuid.uuid4().hex[:8]}", driver="bridge")
        try:
            yield str(network.name)
        finally:
            network.remove()
    finally:
        client.close()


@contextmanager
def neighbour() -> Iterator[str]:
    """The address of another machine, as far as the gateway can tell: a container on a bridge of the engine's."""
    client = connect()
    try:
        with open_network() as network, _container(client, network) as container:
            while b"ready" not in container.logs():
                time.sleep(0.05)
            container.reload()
            yield str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])
    finally:
        client.close()


@contextmanager
def _container(client: DockerClient, network: str) -> Iterator[Container]:
    container = client.containers.run(
        WORKBENCH, ["python3", "-c", _NEIGHBOUR], name=f"{network}-neighbour", network=network, detach=True
    )
    try:
        yield container
    finally:
        container.remove(force=True)


@asynccontextmanager
async def secret_server() -> AsyncIterator[int]:
    """A port of this machine, on all of its addresses, that tells the secret to whoever connects."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        with contextlib.suppress(OSError):
            await reader.read(65536)
            writer.write(head % len(SECRET) + SECRET)
            await writer.drain()
        writer.close()

    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(tell, sock=listener)
    async with server:
        yield int(listener.getsockname()[1])


@asynccontextmanager
async def guarded(route: Route, backend: str = "docker") -> AsyncIterator[Sandbox]:
    """A sandbox with the gateway."""
    async with open_sandbox(new_place(backend)) as sandbox:
        yield replace(sandbox, env={**sandbox.env, **await open_gateway(sandbox, route, None)})


async def ask(sandbox: Sandbox, request: bytes) -> bytes:
    """What the gateway answers to these bytes, sent by a program inside."""
    argv = [f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", _CLIENT]
    done = await sandbox.exec(argv, stdin=request, timeout=40)
    return done.stdout


Forbidden = Callable[[str], bool]


@asynccontextmanager
async def careless_proxy(forbidden: Forbidden) -> AsyncIterator[int]:
    """A proxy as they are written in an afternoon: it looks at the name as a string, lets the resolver make of it what
    it likes at the time of dialling, and passes on whatever else comes on the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            first = await reader.readuntil(b"\r\n")
            method, url, _ = first.split(b" ", 2)
            authority, slash, path = url.removeprefix(b"http://").partition(b"/")
            host, _, port = authority.decode().rpartition(":")
            if forbidden(host):
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            else:
                outer, onward = await asyncio.open_connection(host.strip("[]"), int(port))
                if method == b"CONNECT":
                    await reader.readuntil(b"\r\n\r\n")
                    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    onward.write(b"%s %s HTTP/1.1\r\n" % (method, slash + path))
                await asyncio.gather(_copy(reader, onward), _copy(outer, writer))
                onward.close()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.write_eof()


async def ask_careless(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


def get(target: str | Target, *headers: str, path: str = "/", host: str | None = None) -> bytes:
    """A plain request for a proxy; its Host is that of the target unless said otherwise."""
    lines = [f"GET http://{target}{path} HTTP/1.1", f"Host: {target if host is None else host}", *headers, "", ""]
    return "\r\n".join(lines).encode()
