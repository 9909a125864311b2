"""The only way out of a sandbox: an HTTP(S) proxy whose far end is in this process.

The runner listens on the sandbox's loopback and tunnels each connection here over the channel; the sandbox itself has
no network. The name that is asked for is parsed once, decided on, resolved here, and the very address that was checked
is dialled. `public` reaches ports 80 and 443 of global addresses; `allow` reaches what the user named, wherever it is
but on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import h11

from dockwright.errors import ConfigError
from dockwright.sandbox import OUTPUT, Sandbox
from dockwright.sandbox.channel import ChannelLost, Stream

PORT = 3128
_DIAL_SECONDS, _HEAD_SECONDS, _KNOWN_SECONDS = 20, 30, 60
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*\Z")
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_CA_VARIABLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS", "PIP_CERT",
)  # fmt: skip
_NEVER_TUNNELLED = {b"connection", b"proxy-connection", b"keep-alive", b"proxy-authorization", b"te", b"upgrade"}

Asked = Callable[[str, int, str | None], None]  # host, port, why it was denied


class Denied(Exception):
    """The policy says no; the text is told to whoever asked."""


@dataclass(frozen=True)
class Policy:
    """`hosts` are the names the user allowed, with a port or None for 80 and 443; `public` adds global addresses."""

    public: bool = False
    hosts: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, words: tuple[str, ...]) -> Policy:
        """From `none`, `public`, or names: `*.example.org`, `db.example.org:5432`. Raises ConfigError."""
        hosts = set()
        for word in words:
            if word in ("none", "public"):
                continue
            name, _, port = word.lower().partition(":")
            if not _NAME.match(name.removeprefix("*.")) or (port and not port.isdigit()):
                raise ConfigError(f"--net {word}: neither none, public nor a HOST or HOST:PORT to allow.")
            hosts.add((name, int(port) if port else None))
        if "none" in words and len(words) > 1:
            raise ConfigError("--net none allows nothing; it cannot be combined with other --net values.")
        return cls("public" in words, frozenset(hosts))

    @property
    def open(self) -> bool:
        return self.public or bool(self.hosts)

    def __str__(self) -> str:
        names = [name if port is None else f"{name}:{port}" for name, port in sorted(self.hosts, key=str)]
        return ", ".join(["public"] * self.public + names) or "none"

    def named(self, host: str, port: int) -> bool:
        """Whether the user allowed this very host and port."""
        for name, wanted in self.hosts:
            same = host.endswith(name[1:]) if name.startswith("*.") else host == name
            if same and port in ((80, 443) if wanted is None else (wanted,)):
                return True
        return False

    def check(self, host: str, port: int, address: str) -> None:
        """Raises Denied unless this address may be dialled for this name."""
        ip = ipaddress.ip_address(address)
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast:
            raise Denied(f"{host} is {ip}, an address of this machine or its network's infrastructure")
        if self.named(host, port):
            return
        if not self.public:
            raise Denied(f"only {self} may be reached")
        if port not in (80, 443):
            raise Denied(f"port {port} is not 80 or 443")
        if not ip.is_global or _translated(ip):
            raise Denied(f"{host} is {ip}, which is not a public address")


def _translated(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """6to4, Teredo and NAT64 addresses carry an IPv4 address that would be dialled in their place."""
    return isinstance(ip, ipaddress.IPv6Address) and bool(
        ip.sixtofour or ip.teredo or any(ip in network for network in _NAT64)
    )


class Names:
    """Addresses by name. All who ask at once share one lookup, whose outcome holds for a minute: a package manager
    opens a thousand connections to one host, and resolvers drop what comes in such numbers."""

    def __init__(self) -> None:
        self._lookups: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Raises OSError where there are none, TimeoutError where it takes too long."""
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = asyncio.create_task(_look_up(host))
            lookup.add_done_callback(
                lambda done: self._forget(host, 0 if done.cancelled() or done.exception() else _KNOWN_SECONDS)
            )
        return await asyncio.shield(lookup)

    def _forget(self, host: str, after: float) -> None:
        asyncio.get_running_loop().call_later(after, self._lookups.pop, host, None)


async def _look_up(host: str) -> tuple[str, ...]:
    async with asyncio.timeout(_DIAL_SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(str(entry[4][0]) for entry in found)


async def open_gateway(sandbox: Sandbox, policy: Policy, asked: Asked, ca: bytes | None) -> Mapping[str, str]:
    """Let a sandbox out by this policy. Returns the environment that programs inside find the proxy and the CAs by."""
    tasks: set[asyncio.Task[None]] = set()
    names = Names()

    def accept(stream: Stream, _: Mapping[str, Any]) -> None:
        task = asyncio.create_task(_serve(stream, policy, asked, names))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    sandbox.channel.on_open = accept
    await sandbox.channel.call({"do": "listen", "port": PORT})
    proxy = f"http://127.0.0.1:{PORT}"
    env = {name: proxy for word in ("http_proxy", "https_proxy") for name in (word, word.upper())}
    env |= dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1")
    if ca:
        path = f"{OUTPUT}/ca.pem"
        await sandbox.write(path, ca)
        env |= dict.fromkeys(_CA_VARIABLES, path)
    return env


async def _serve(stream: Stream, policy: Policy, asked: Asked, names: Names) -> None:
    """One connection from inside: read the head, decide, dial, then carry bytes until either end is done."""
    parser = h11.Connection(h11.SERVER)
    with contextlib.suppress(ChannelLost, OSError):
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                request = await _head(stream, parser)
            host, port, path = _target(request)
        except (h11.ProtocolError, ValueError, TimeoutError) as error:
            await _refuse(stream, 400, f"not a proxy request: {error}")
            return
        try:
            reader, writer = await _dial(policy, host, port, names)
        except Denied as error:
            asked(host, port, str(error))
            await _refuse(stream, 403, f"the network policy of this sandbox denies {host}:{port}: {error}")
            return
        except (OSError, TimeoutError) as error:
            asked(host, port, None)
            await _refuse(stream, 502, f"{host}:{port} did not answer: {error!r}")
            return
        asked(host, port, None)
        rest, _ = parser.trailing_data
        if request.method == b"CONNECT":
            await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            writer.write(rest)
        else:
            writer.write(_forwarded(request, path) + rest)
        await _carry(stream, reader, writer)


async def _head(stream: Stream, parser: h11.Connection) -> h11.Request:
    while (event := parser.next_event()) is h11.NEED_DATA:
        parser.receive_data(await stream.receive())
    if not isinstance(event, h11.Request):
        raise ValueError("the connection ended")
    return event


def _target(request: h11.Request) -> tuple[str, int, bytes]:
    """Host, port and path of a CONNECT or an absolute http:// request. Raises ValueError for anything odd."""
    text = request.target.decode("ascii")
    if request.method == b"CONNECT":
        authority, path, default = text, b"", None
    elif text.lower().startswith("http://"):
        authority, slash, rest = text[7:].partition("/")
        path, default = (slash + rest or "/").encode(), 80
    else:
        raise ValueError(f"target {text[:80]!r}")
    host, colon, port = authority.lower().rpartition(":") if ":" in authority else (authority.lower(), "", "")
    number = int(port) if colon else default
    if not _NAME.match(host) or number is None or not 0 < number < 65536:
        raise ValueError(f"host {authority[:80]!r}")
    return host, number, path


async def _dial(
    policy: Policy, host: str, port: int, names: Names
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Resolve here and dial the address that was checked. A name the policy cannot allow is not even looked up."""
    if not policy.public and not policy.named(host, port):
        raise Denied(f"only {policy} may be reached")
    if re.fullmatch(r"[0-9a-fx.]+", host) and re.match(r"[0-9]", host.rpartition(".")[2]):
        addresses: tuple[str, ...] = (host,) if _plain_address(host) else ()
    else:
        addresses = await names.addresses(host)
    if not addresses:
        raise Denied(f"{host} is an address spelled in an odd way")
    for address in addresses:
        policy.check(host, port, address)
    last: OSError | TimeoutError = OSError("no address")
    for address in addresses:
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                return await asyncio.open_connection(address, port)
        except (OSError, TimeoutError) as error:
            last = error
    raise last


def _plain_address(host: str) -> bool:
    try:
        return str(ipaddress.ip_address(host)) == host
    except ValueError:
        return False


def _forwarded(request: h11.Request, path: bytes) -> bytes:
    """The request as its server wants it: origin form, one per connection, nothing of the proxy's."""
    lines = [b"%s %s HTTP/1.1" % (request.method, path)]
    lines += [b"%s: %s" % (name, value) for name, value in request.headers if name.lower() not in _NEVER_TUNNELLED]
    return b"\r\n".join([*lines, b"connection: close", b"", b""])


async def _refuse(stream: Stream, status: int, reason: str) -> None:
    body = f"dockwright: {reason}\n".encode()
    phrase = "".join(char for char in f"dockwright: {reason}" if " " <= char <= "~" and char not in "'\"")[:200]
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    await stream.send(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    stream.send_end()


async def _carry(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async def outwards() -> None:
        while data := await stream.receive():
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    async def inwards() -> None:
        while data := await reader.read(1 << 16):
            await stream.send(data)
        stream.send_end()

    try:
        await asyncio.gather(outwards(), inwards())
    finally:
        writer.close()
