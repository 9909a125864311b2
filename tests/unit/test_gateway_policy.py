"""What may be reached through the gateway, decided on the address that will be dialled."""

from __future__ import annotations

import asyncio

import pytest

from dockwright.errors import ConfigError
from dockwright.sandbox.gateway import Denied, Names, Policy

PUBLIC = Policy.parse(("public",))
NAMED = Policy.parse(("db.example.org:5432", "*.example.org", "plain.test"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)  # fmt: skip
def test_public_refuses_every_address_that_is_not_global(address: str) -> None:
    with pytest.raises(Denied):
        PUBLIC.check("some.host", 443, address)


def test_public_reaches_the_web_ports_of_global_addresses() -> None:
    PUBLIC.check("some.host", 443, "1.1.1.1")
    PUBLIC.check("some.host", 80, "2606:4700::1111")
    with pytest.raises(Denied, match="port 22 is not 80 or 443"):
        PUBLIC.check("some.host", 22, "1.1.1.1")


def test_an_allowed_name_may_be_on_a_private_network_but_never_on_this_machine() -> None:
    NAMED.check("db.example.org", 5432, "10.0.0.7")
    NAMED.check("www.example.org", 443, "1.1.1.1")
    for address in ("127.0.0.1", "169.254.169.254", "::1"):
        with pytest.raises(Denied, match="an address of this machine"):
            NAMED.check("db.example.org", 5432, address)


@pytest.mark.parametrize(
    ("host", "port", "named"),
    [
        ("db.example.org", 5432, True),
        ("db.example.org", 5433, False),
        ("db.example.org", 443, True),
        ("a.b.example.org", 80, True),
        ("example.org", 443, False),
        ("evilexample.org", 443, False),
        ("plain.test", 443, True),
        ("plain.test.evil", 443, False),
        ("plain.test", 22, False),
    ],
)
def test_a_name_allows_itself_and_a_star_what_is_below_it(host: str, port: int, named: bool) -> None:
    assert NAMED.named(host, port) is named


@pytest.mark.parametrize(
    "word", ["http://x.org", "x.org:http", "a b", "x.org/path", "-x.org", "*", "x..org", "[::1]:80"]
)
def test_a_word_that_is_no_host_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="neither none, public nor a HOST"):
        Policy.parse((word,))


def test_none_stands_alone() -> None:
    with pytest.raises(ConfigError, match="cannot be combined"):
        Policy.parse(("none", "x.org"))
    assert (Policy.parse(("none",)).open, str(Policy.parse(()))) == (False, "none")


async def test_all_who_ask_for_a_name_at_once_share_its_lookup() -> None:
    names = Names()
    found = await asyncio.gather(*(names.addresses("localhost") for _ in range(500)))
    assert set(found) == {found[0]}
    assert set(found[0]) <= {"127.0.0.1", "::1"}


async def test_a_name_that_does_not_exist_is_asked_for_again() -> None:
    names = Names()
    for _ in range(2):
        with pytest.raises(OSError, match=r"known|failure"):
            await names.addresses("no-such-host.invalid")
        await asyncio.sleep(0)
