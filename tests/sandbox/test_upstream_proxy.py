"""Where the user goes out through a proxy, so does the gateway: with the proxy's password, which stays on the host."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from tests.adversarial.network import ask, get, guarded

from dockwright.errors import ConfigError
from dockwright.sandbox.dial import Names, Proxies, Route
from dockwright.sandbox.policy import Policy

pytestmark = pytest.mark.docker
CREDENTIALS = base64.b64encode(b"ada:l0ve&lace").decode()


@dataclass
class Proxy:
    """Wants a password, tells what it was asked, and answers in the place of whoever it was asked for."""

    port: int = 0
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            if f"proxy-authorization: basic {CREDENTIALS}".lower() not in head.lower():
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            elif head.startswith("CONNECT"):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\nhello from afar: ")
                writer.write(await reader.read(100))
            else:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain")
            await writer.drain()
        writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    def route(self, *words: str, user: str = "ada:l0ve%26lace@", no_proxy: str = "") -> Route:
        url = f"http://{user}127.0.0.1:{self.port}"
        said = {"HTTPS_PROXY": url, "http_proxy": url, "NO_PROXY": no_proxy, "HOME": "/root"}
        return Route(Policy.parse(words), Proxies.from_environment(said), Names(unknown))


async def unknown(host: str) -> tuple[str, ...]:
    """A resolver as in networks where only the proxy knows names; but for one that is on the private network."""
    if host == "intranet.example.org":
        return ("10.0.0.7",)
    raise OSError("no such name")


CONNECT = b"CONNECT shop.example.org:443 HTTP/1.1\r\nHost: shop.example.org:443\r\n\r\nbytes of TLS"


async def test_a_tunnel_goes_through_the_proxy_by_its_name() -> None:
    async with Proxy().running() as proxy, guarded(proxy.route("public")) as sandbox:
        answer = await ask(sandbox, CONNECT)
        env = (await sandbox.exec(["env"])).stdout
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nhello from afar: bytes of TLS"
    assert proxy.heads[0].startswith("CONNECT shop.example.org:443 HTTP/1.1\r\nhost: shop.example.org:443\r\n")
    assert b"ada" not in env


async def test_a_plain_request_goes_to_the_proxy_with_its_whole_url() -> None:
    async with Proxy().running() as proxy, guarded(proxy.route("public")) as sandbox:
        answer = await ask(sandbox, get("shop.example.org", "Proxy-Authorization: Basic bWluZQ==", path="/a?b"))
    assert answer.endswith(b"\r\n\r\nplain")
    assert proxy.heads[0].startswith("GET http://shop.example.org:80/a?b HTTP/1.1\r\nhost: shop.example.org\r\n")
    assert "bWluZQ==" not in proxy.heads[0]


@pytest.mark.parametrize(
    "target",
    ["10.0.0.7:443", "169.254.169.254:80", "[::1]:443", "localhost:80", "db.corp:443", "intranet.example.org:443"],
)
async def test_the_proxy_is_not_asked_for_what_public_does_not_allow(target: str) -> None:
    async with Proxy().running() as proxy, guarded(proxy.route("public"), "bubblewrap") as sandbox:
        assert (await ask(sandbox, get(target))).startswith(b"HTTP/1.1 403")
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()
        assert (await ask(sandbox, request)).startswith(b"HTTP/1.1 403")
    assert proxy.heads == []


async def test_what_no_proxy_names_is_dialled_directly() -> None:
    async with Proxy().running() as proxy, guarded(proxy.route("public", no_proxy="x.org,.example.org")) as sandbox:
        answer = await ask(sandbox, CONNECT)
    assert (answer.startswith(b"HTTP/1.1 502"), proxy.heads) == (True, [])


async def test_a_proxy_that_refuses_is_named_as_the_cause() -> None:
    async with Proxy().running() as proxy, guarded(proxy.route("public", user=""), "bubblewrap") as sandbox:
        answer = await ask(sandbox, CONNECT)
    assert b"shop.example.org:443 did not answer: your proxy says 407 Proxy Authentication Required" in answer


def test_a_proxy_that_cannot_be_used_is_told_without_its_password() -> None:
    with pytest.raises(ConfigError, match=r"The proxy proxy.example.org:1080 of the environment") as caught:
        Proxies.from_environment({"ALL_PROXY": "socks5://ada:secret@proxy.example.org:1080"})
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Proxies.from_environment({"HTTP_PROXY": "http://ada:secret@proxy.example.org"}))
