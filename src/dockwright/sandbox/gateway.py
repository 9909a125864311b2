"""The only way out of a sandbox: an HTTP(S) proxy whose far end is in this process.

The runner listens on the sandbox's loopback and tunnels each connection here over the channel; the sandbox itself has
no network. Each connection carries one request, parsed once by h11: what was decided on is what is dialled and sent on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Mapping
from typing import Any

import h11

from dockwright.sandbox import OUTPUT, Sandbox
from dockwright.sandbox.asked import Asked
from dockwright.sandbox.channel import ChannelLost, Stream
from dockwright.sandbox.dial import Connection, Route
from dockwright.sandbox.policy import Denied, Target

PORT = 3128
_HEAD_SECONDS, _HEAD_BYTES, _READ = 30, 1 << 16, 1 << 18
_CA_VARIABLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT",
    "CARGO_HTTP_CAINFO", "AWS_CA_BUNDLE", "DENO_CERT", "NIX_SSL_CERT_FILE",
)  # fmt: skip
# What is between two neighbours on the way only (RFC 9110, 7.6.1), and what this end writes itself.
_NOT_PASSED_ON = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization", b"proxy-authenticate", b"te",
     b"upgrade", b"host"}
)  # fmt: skip


async def open_gateway(sandbox: Sandbox, route: Route, ca: bytes | None) -> Mapping[str, str]:
    """Let a sandbox out by this route. Returns the environment that programs inside find the proxy and the CAs by."""
    tasks: set[asyncio.Task[None]] = set()

    def accept(stream: Stream, _: Mapping[str, Any]) -> None:
        task = asyncio.create_task(_serve(stream, route, sandbox.asked))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await sandbox.listen(PORT, accept)
    proxy = f"http://127.0.0.1:{PORT}"
    env = {name: proxy for word in ("http_proxy", "https_proxy") for name in (word, word.upper())}
    env |= dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1")
    if ca:
        path, apt = f"{OUTPUT}/ca.pem", f"{OUTPUT}/apt.conf"
        await sandbox.write(path, ca)
        await sandbox.write(apt, f'Acquire::https::CAInfo "{path}";\n'.encode())
        env |= dict.fromkeys(_CA_VARIABLES, path) | {"APT_CONFIG": apt}
    return env


async def _serve(stream: Stream, route: Route, asked: Asked) -> None:
    """One connection from inside: read the head, decide, dial, then carry bytes until either end is done."""
    with contextlib.suppress(ChannelLost):
        try:
            await _answer(stream, route, asked)
        except (OSError, h11.ProtocolError):  # the server went away, or made no sense: so does the tunnel
            stream.cancel()


async def _answer(stream: Stream, route: Route, asked: Asked) -> None:
    client = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_BYTES)
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            request = await _head(stream, client)
        target, path = _wanted(request)
    except (h11.ProtocolError, ValueError, TimeoutError) as error:
        await _refuse(stream, 400, f"not a request for this proxy: {error}")
        return
    plain = request.method != b"CONNECT"
    try:
        server, proxy = await route.open(target, plain=plain)
    except Denied as error:
        asked.note(target, str(error))
        await _refuse(stream, 403, f"the network policy of this sandbox denies {target}: {error}")
        return
    except (OSError, TimeoutError) as error:
        asked.note(target)
        await _refuse(stream, 502, f"{target} did not answer: {str(error) or error!r}")
        return
    asked.note(target)
    try:
        if plain:
            prefix, authorization = proxy or ("", b"")
            await _exchange(stream, client, _onward(request, target, prefix.encode() + path, authorization), server)
        else:
            await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            server[1].write(client.trailing_data[0])
            await _carry(stream, server)
    finally:
        server[1].close()


async def _head(stream: Stream, client: h11.Connection) -> h11.Request:
    while (event := client.next_event()) is h11.NEED_DATA:
        client.receive_data(await stream.receive())
    if not isinstance(event, h11.Request):
        raise ValueError("the connection ended")
    return event


def _wanted(request: h11.Request) -> tuple[Target, bytes]:
    """Target and path of a CONNECT or an absolute http:// request. Raises ValueError for anything odd: what two
    servers could read in two ways is not passed on."""
    names = [name for name, _ in request.headers]
    bodies = names.count(b"content-length") + names.count(b"transfer-encoding")
    text = request.target.decode("ascii")
    if request.method == b"CONNECT":
        if bodies:
            raise ValueError("a CONNECT has no body")
        return Target.parse(text), b""
    if bodies > 1:
        raise ValueError("two lengths of one body")
    scheme, rest = text[:7].lower(), text[7:]
    if scheme != "http://" or "#" in rest:
        raise ValueError(f"its target is {text[:80]!r}, where http://HOST/PATH is expected, or CONNECT HOST:PORT")
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    path = rest[end:]
    return Target.parse(rest[:end], default_port=80), (path if path.startswith("/") else f"/{path}").encode()


def _onward(request: h11.Request, target: Target, url: bytes, authorization: bytes) -> h11.Request:
    """The request as the next server gets it: the host that was decided on, and nothing of the proxy's."""
    host = str(target).removesuffix(":80")
    headers = [(b"host", host.encode()), *_passed_on(request.headers), (b"connection", b"close")]
    if authorization:
        headers.append((b"proxy-authorization", authorization))
    return h11.Request(method=request.method, target=url, headers=headers)


def _passed_on(headers: Collection[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    return [(name, value) for name, value in headers if name not in _NOT_PASSED_ON | named]


async def _refuse(stream: Stream, status: int, reason: str) -> None:
    body = f"dockwright: {reason}\n".encode()
    phrase = "".join(char for char in f"dockwright: {reason}" if " " <= char <= "~" and char not in "'\"")[:200]
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    await stream.send(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    stream.send_end()


async def _exchange(stream: Stream, client: h11.Connection, request: h11.Request, server: Connection) -> None:
    """One request and its answer, message by message: what the client sends after it goes nowhere."""
    reader, writer = server
    onward = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)

    async def outwards() -> None:
        writer.write(onward.send(request) or b"")
        while not isinstance(event := client.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                client.receive_data(await stream.receive())
            elif isinstance(event, h11.Data):
                writer.write(onward.send(event) or b"")
                await writer.drain()
            else:
                return
        writer.write(onward.send(h11.EndOfMessage()) or b"")
        while await stream.receive():  # another request of the client's, maybe for another host
            pass

    async def inwards() -> None:
        while True:
            match onward.next_event():
                case h11.NEED_DATA:
                    onward.receive_data(await reader.read(_READ))
                case h11.InformationalResponse() | h11.Response() as head:
                    last = [] if isinstance(head, h11.InformationalResponse) else [(b"connection", b"close")]
                    headers = [*_passed_on(head.headers), *last]
                    passed = type(head)(status_code=head.status_code, headers=headers, reason=head.reason)
                    await stream.send(client.send(passed) or b"")
                case h11.Data() as data:
                    await stream.send(client.send(data) or b"")
                case h11.EndOfMessage():
                    await stream.send(client.send(h11.EndOfMessage()) or b"")
                    return
                case _:
                    return

    try:
        await _both(stream, inwards(), outwards(), until_first=True)
    except h11.ProtocolError as error:
        if client.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await _refuse(stream, 502, f"the answer of {request.headers[0][1].decode()} is not HTTP: {error}")
            return
    stream.send_end()


async def _carry(stream: Stream, server: Connection) -> None:
    reader, writer = server

    async def outwards() -> None:
        while data := await stream.receive():
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def inwards() -> None:
        while data := await reader.read(_READ):
            await stream.send(data)
        stream.send_end()

    await _both(stream, inwards(), outwards())


async def _both(
    stream: Stream,
    first: Coroutine[Any, Any, None],
    second: Coroutine[Any, Any, None],
    *,
    until_first: bool = False,
) -> None:
    """Two directions of one connection: where one fails, the client is gone, or the first was all there is to wait for,
    the other ends too."""
    one, two = asyncio.create_task(first), asyncio.create_task(second)
    pending = {one, two}
    try:
        while pending and not stream.done.done() and not (until_first and one.done()):
            waiting: set[asyncio.Future[Any]] = {*pending, stream.done}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in pending if task.done()]:
                task.result()
                pending.remove(task)
    finally:
        one.cancel()
        two.cancel()
        await asyncio.gather(one, two, return_exceptions=True)
