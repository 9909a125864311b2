"""How the gateway reaches what the policy allows: resolve, check, and dial the very address that was checked; or,
where the user goes out through a proxy of their own, ask that proxy.

A proxy resolves names itself, so there the name decides, and each address that this machine resolves it to as well.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from dockwright.config import proxy_for
from dockwright.errors import ConfigError
from dockwright.sandbox.policy import Policy, Target

DIAL_SECONDS, KNOWN_SECONDS, _GUESS_SECONDS = 20, 60, 3
_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
LookUp = Callable[[str], Awaitable[tuple[str, ...]]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Resolver:
    """What this machine knows of names, asked in threads of its own: names that take long must not hold up those that
    write the journal."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(8, "names")

    async def __call__(self, host: str) -> tuple[str, ...]:
        """Raises OSError where there are no addresses."""
        ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Names:
    """Addresses by name. All who ask at once share one lookup, whose outcome holds for a minute: a package manager
    opens a thousand connections to one host, and resolvers drop what comes in such numbers."""

    def __init__(self, look_up: LookUp | None = None, failure_seconds: float = 0) -> None:
        self._look_up, self._failure_seconds = look_up or Resolver(), failure_seconds
        self._lookups: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def addresses(self, host: str, seconds: float = DIAL_SECONDS) -> tuple[str, ...]:
        """Raises OSError where there are none, TimeoutError where it takes too long."""
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = asyncio.create_task(self._bounded(host, seconds))
            lookup.add_done_callback(lambda done: self._forget(host, done))
        return await asyncio.shield(lookup)

    async def _bounded(self, host: str, seconds: float) -> tuple[str, ...]:
        async with asyncio.timeout(seconds):
            return await self._look_up(host)

    def _forget(self, host: str, done: asyncio.Task[tuple[str, ...]]) -> None:
        after = self._failure_seconds if done.cancelled() or done.exception() else KNOWN_SECONDS
        asyncio.get_running_loop().call_later(after, self._lookups.pop, host, None)


@dataclass(frozen=True)
class Proxies:
    """The user's own way out, as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY of `env` say it. Names and passwords
    in them stay on the host."""

    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Proxies:
        """Raises ConfigError for a proxy that cannot be used."""
        said = {name: value for name, value in env.items() if name.lower() in _VARIABLES and value}
        for name, url in said.items():
            if name.lower() != "no_proxy":
                _parts(url)
        return cls(said)

    def of(self, target: Target, *, plain: bool) -> SplitResult | None:
        """The proxy that a target is reached by; None is no proxy. `plain` is http without TLS."""
        url = proxy_for(self.env, f"{'http' if plain else 'https'}://{target}")
        return _parts(url) if url else None


NO_PROXIES = Proxies()


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    shown = url.rpartition("@")[2]
    raise ConfigError(
        f"The proxy {shown} of the environment cannot be used: only http:// and https:// proxies can. Set HTTP_PROXY "
        "and HTTPS_PROXY to such a one, or NO_PROXY=* for none."
    )


@dataclass
class Route:
    """Policy, names and proxies: all that it takes to open a connection to a target, or to refuse it."""

    policy: Policy
    proxies: Proxies = NO_PROXIES
    names: Names = field(default_factory=Names)

    async def open(self, target: Target, *, plain: bool) -> tuple[Connection, tuple[str, bytes] | None]:
        """A connection to the target, and None; or, for a plain request by proxy, one to the proxy and what to send
        to it: the beginning of the request's URL and an Authorization. Raises Denied, OSError and TimeoutError."""
        self.policy.check_name(target)
        proxy = self.proxies.of(target, plain=plain)
        if proxy is None:
            return await self._dial(target), None
        await self._guess(target)
        async with asyncio.timeout(DIAL_SECONDS):
            connection = await asyncio.open_connection(
                proxy.hostname, proxy.port or (443 if proxy.scheme == "https" else 80),
                ssl=True if proxy.scheme == "https" else None,
            )  # fmt: skip
            if plain:
                return connection, (f"http://{target}", _authorization(proxy))
            try:
                await _ask_proxy(connection, target, _authorization(proxy))
            except BaseException:
                connection[1].close()
                raise
            return connection, None

    async def _dial(self, target: Target) -> Connection:
        literal = target.address is not None
        addresses = (target.host,) if literal else await self.names.addresses(target.host)
        for address in addresses:
            self.policy.check(target, address)
        last: OSError | TimeoutError = OSError("no address")
        for address in addresses:
            try:
                async with asyncio.timeout(DIAL_SECONDS):
                    return await asyncio.open_connection(address, target.port)
            except (OSError, TimeoutError) as error:
                last = error
        raise last

    async def _guess(self, target: Target) -> None:
        """By proxy, the name decides. Where this machine can resolve it too, its addresses must be right as well."""
        addresses: tuple[str, ...] = (target.host,)
        if target.address is None:
            addresses = ()
            with contextlib.suppress(OSError, TimeoutError):
                addresses = await self.names.addresses(target.host, _GUESS_SECONDS)
        for address in addresses:
            self.policy.check(target, address)


def _authorization(proxy: SplitResult) -> bytes:
    if proxy.username is None:
        return b""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return b"Basic " + base64.b64encode(pair.encode())


async def _ask_proxy(connection: Connection, target: Target, authorization: bytes) -> None:
    """CONNECT. Raises OSError where the proxy does not want to."""
    reader, writer = connection
    parser = h11.Connection(h11.CLIENT)
    headers = [(b"host", str(target).encode())]
    if authorization:
        headers.append((b"proxy-authorization", authorization))
    request = h11.Request(method=b"CONNECT", target=str(target).encode(), headers=headers)
    writer.write(parser.send(request) or b"")
    writer.write(parser.send(h11.EndOfMessage()) or b"")
    try:
        while (event := parser.next_event()) is h11.NEED_DATA or isinstance(event, h11.InformationalResponse):
            if event is h11.NEED_DATA:
                parser.receive_data(await reader.readuntil(b"\n"))  # not a byte more than the head
    except (h11.ProtocolError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise OSError(f"your proxy gave no answer: {error}") from error
    if not isinstance(event, h11.Response):
        raise OSError("your proxy ended the connection")
    if not 200 <= event.status_code < 300:
        raise OSError(f"your proxy says {event.status_code} {event.reason.decode('ascii', 'replace')}")
