"""Requests that two servers read in two ways: what is sent on is what was decided on, and nothing rides along."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
from tests.adversarial.network import SECRET, ask, ask_careless, careless_proxy, get, guarded, neighbour, secret_server

from dockwright.sandbox import Sandbox
from dockwright.sandbox.dial import Route
from dockwright.sandbox.policy import Policy

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    with neighbour() as address:
        yield address


@pytest.fixture(scope="module")
async def inside(other: str) -> AsyncIterator[Sandbox]:
    """Only one port of the neighbour is allowed."""
    async with guarded(Route(Policy.parse((f"{other}:8001",)))) as sandbox:
        yield sandbox


def seen(answer: bytes) -> bytes:
    """What the neighbour says that it got."""
    return answer.partition(b"\r\n\r\n")[2]


async def test_the_host_that_was_decided_on_is_the_one_that_is_sent_on(inside: Sandbox, other: str) -> None:
    got = seen(await ask(inside, get(f"{other}:8001", host="intranet.example.org", path="/a?b=c")))
    assert got.lower().count(b"host:") == 1
    assert got.startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"host: {other}:8001\r\n".encode() in got
    assert b"intranet" not in got


async def test_a_careless_proxy_passes_another_host_on(other: str) -> None:
    async with careless_proxy(lambda host: host != other) as proxy:
        got = seen(await ask_careless(proxy, get(f"{other}:8001", host="intranet.example.org")))
    assert b"Host: intranet.example.org" in got


async def test_a_second_request_on_the_connection_does_not_ride_along(inside: Sandbox, other: str) -> None:
    both = get(f"{other}:8001") + get(f"{other}:8002", path="/smuggled")
    answer = await ask(inside, both)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"smuggled" not in answer


async def test_a_careless_proxy_lets_it_ride_along(other: str) -> None:
    both = get(f"{other}:8001") + get(f"{other}:8002", path="/smuggled")
    async with careless_proxy(lambda host: host != other) as proxy:
        assert b"smuggled" in await ask_careless(proxy, both)


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 40"),
        ("Content-Length: 4, 40",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding\t: chunked",),
        ("Content-Length: +4",),
        ("Host: intranet.example.org",),
        ("X: a\r\n folded\x00",),
        ("X: a\x0bb\rEvil: 1",),
    ],
)
async def test_a_request_of_two_readings_is_refused(inside: Sandbox, other: str, headers: tuple[str, ...]) -> None:
    request = get(f"{other}:8001", *headers) + b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = await ask(inside, request)
    assert answer.startswith(b"HTTP/1.1 400"), answer
    async with careless_proxy(lambda host: host != other) as proxy:
        assert b"smuggled" in await ask_careless(proxy, request)


async def test_nothing_between_neighbours_is_passed_on(inside: Sandbox, other: str) -> None:
    headers = (
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Upgrade: h2c",
        "Proxy-Authorization: Basic eDp5",
        "X-End: 1",
    )
    got = seen(await ask(inside, get(f"{other}:8001", *headers))).lower()
    assert [word in got for word in (b"x-hop", b"upgrade", b"proxy-authorization", b"keep-alive")] == [False] * 4
    assert b"x-end: 1" in got


async def test_a_body_arrives_whole_however_it_is_framed(inside: Sandbox, other: str) -> None:
    plain = get(f"{other}:8001", "Content-Length: 5").replace(b"GET", b"POST") + b"hello"
    chunked = get(f"{other}:8001", "Transfer-Encoding: chunked").replace(b"GET", b"POST") + b"5\r\nhello\r\n0\r\n\r\n"
    assert seen(await ask(inside, plain)).endswith(b"\r\n\r\nhello")
    assert seen(await ask(inside, chunked)).endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


async def test_a_redirect_is_decided_anew(inside: Sandbox, other: str) -> None:
    async with secret_server() as secret:
        url = f"http://{other}:8001/to/127.0.0.1:{secret}"
        command = ("curl", "-sSL", "--noproxy", "", url)
        done = await inside.exec([*command, "-x", "http://127.0.0.1:3128"])
        assert b"denies 127.0.0.1" in done.stdout
        careless = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        assert careless.stdout == SECRET
