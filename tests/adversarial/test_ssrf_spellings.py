"""Server-side request forgery: this machine, its network and the cloud's metadata, in every spelling there is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.adversarial.network import SECRET, ask, ask_careless, careless_proxy, get, guarded, secret_server

from dockwright.sandbox import Sandbox
from dockwright.sandbox.boundary import addresses
from dockwright.sandbox.dial import Route
from dockwright.sandbox.policy import Policy

pytestmark = pytest.mark.docker

# What resolvers make 127.0.0.1 of, and so a proxy reaches that knows the plain spellings only.
REACHING = (
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "0", "0.0.0.0",
    "127.0.0.2", "LOCALHOST", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
)  # fmt: skip
ODD = (
    "127.0.0.1.", "localhost.", "user@127.0.0.1", "x.org@127.0.0.1", "127.0.0.1%00.x.org", "127.0.0.1\x00.x.org",
    "127.0.0.1#x.org", "127%2e0%2e0%2e1", "127.0.0.1\\x.org", "127\u30020\u30020\u30021", "\uff11\uff12\uff17.0.0.1",
    "loc\u00e4lhost", "[::1]", "[::]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]",
    "[::1%lo]", "[fec0::1]", "[ff02::1]", "[fd00:ec2::254]", "169.254.169.254", "2852039166", "0xa9fea9fe",
    "[::ffff:169.254.169.254]", "100.64.0.1", "100.100.100.200", "10.0.0.1", "192.168.0.1", "172.17.0.1", "192.0.2.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "0.1.2.3", "metadata.google.internal", "localhost",
    "", " 127.0.0.1", "127.0.0.1\t", "*", "-x", "x..y", "a" * 300,
)  # fmt: skip
KNOWN_BAD = frozenset({"127.0.0.1", "localhost", "::1", "[::1]", "169.254.169.254"})


@pytest.fixture(scope="module")
async def secret() -> AsyncIterator[int]:
    async with secret_server() as port:
        yield port


@pytest.fixture(scope="module", params=["public", "*.example.org"])
async def inside(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with guarded(Route(Policy.parse((request.param,)))) as sandbox:
        yield sandbox


async def test_no_spelling_of_any_such_address_gets_an_answer(inside: Sandbox, secret: int) -> None:
    hosts = (*REACHING, *ODD, *(f"[{own}]" if ":" in own else own for own in addresses()))
    wanted = [f"{host}:{port}" for host in hosts for port in (secret, 80)]
    requests = [get(target) for target in wanted]
    requests += [f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode() for target in wanted]
    program = (
        "import socket, sys\n"
        "for request in eval(sys.stdin.read()):\n"
        "    s = socket.create_connection(('127.0.0.1', 3128)); s.settimeout(30); s.sendall(request)\n"
        "    print(s.recv(65536)); s.close()\n"
    )
    argv = [f"{inside.runtime}/bin/python3", "-I", "-S", "-c", program]
    done = await inside.exec(argv, stdin=repr(requests).encode(), timeout=120)
    answers = done.stdout.decode().splitlines()
    got = zip(requests, answers, strict=True)
    through = [(request, answer) for request, answer in got if answer[2:14] not in ("HTTP/1.1 400", "HTTP/1.1 403")]
    assert through == [], done.stderr


async def test_an_allowed_name_that_leads_here_gets_no_answer(secret: int) -> None:
    policy = Policy.parse(tuple(f"{own}:{secret}" for own in (*addresses(), "localhost") if ":" not in own))
    async with guarded(Route(policy)) as sandbox:
        for host, _ in policy.hosts:
            answer = await ask(sandbox, get(f"{host}:{secret}"))
            assert b"an address of this machine" in answer
            assert SECRET not in answer


@pytest.mark.parametrize("host", REACHING)
async def test_a_proxy_that_compares_strings_is_taken_in(host: str, secret: int) -> None:
    async with careless_proxy(KNOWN_BAD.__contains__) as proxy:
        assert SECRET in await ask_careless(proxy, get(f"{host}:{secret}"))
        assert SECRET not in await ask_careless(proxy, get(f"127.0.0.1:{secret}"))
