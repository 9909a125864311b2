"""What may be reached through the gateway, decided on the address that will be dialled."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dockwright.errors import ConfigError
from dockwright.sandbox.boundary import addresses
from dockwright.sandbox.dial import Names
from dockwright.sandbox.policy import Denied, Policy, Target, allow_words, is_private_name

PUBLIC = Policy.parse(("public",))
NAMED = Policy.parse(("db.example.org:5432", "*.example.org", "plain.test"))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "198.18.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "192.0.0.100", "192.0.2.1", "198.51.100.1", "203.0.113.1", "240.0.0.1",
        "192.88.99.1", "2001:db8::1", "3fff::1", "fec0::1", "64:ff9b:1::808:808", "64:ff9b::808:808", "::808:808",
        "2002:808:808::", "::ffff:8.8.8.8", "2606:4700::5efe:10.0.0.1", "fd00:ec2::254", "100.100.100.200",
        "fe80::1%lo",
    ],
)  # fmt: skip
def test_public_refuses_every_address_that_is_not_global(address: str) -> None:
    with pytest.raises(Denied):
        PUBLIC.check(Target("some.example.org", 443), address)


def test_public_reaches_the_web_ports_of_global_addresses() -> None:
    PUBLIC.check(Target("some.example.org", 443), "1.1.1.1")
    PUBLIC.check(Target("some.example.org", 80), "2606:4700::1111")
    with pytest.raises(Denied, match="port 22 is not 80 or 443"):
        PUBLIC.check(Target("some.example.org", 22), "1.1.1.1")


def test_an_allowed_name_may_be_on_a_private_network_but_never_on_this_machine() -> None:
    NAMED.check(Target("db.example.org", 5432), "10.0.0.7")
    NAMED.check(Target("www.example.org", 443), "1.1.1.1")
    for address in (
        "127.0.0.1", "169.254.169.254", "::1", "0.1.2.3", "fe80::7", "fd00:ec2::254", "255.255.255.255", "224.0.0.1",
        "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1", *addresses(),
    ):  # fmt: skip
        with pytest.raises(Denied, match="an address of this machine"):
            NAMED.check(Target("db.example.org", 5432), address)


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
    assert NAMED.named(Target(host, port)) is named


@pytest.mark.parametrize(
    "word",
    [
        "http://x.org",
        "x.org:http",
        "a b*",
        "x.org/path",
        "-x.org",
        "*",
        "*.org.",
        "x..org",
        "x.org:0",
        "x.org:65536",
        "127.1",
        "[::1",
        "[::ffff:1.2.3.4]:80",
        "*.1.2.3.4",
        "b\u00fccher.example",
        "allow",
        "allow=",
        "",
    ],
)
def test_a_word_that_is_no_host_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="neither none, public nor a HOST"):
        Policy.parse((word,))


def test_none_stands_alone() -> None:
    with pytest.raises(ConfigError, match="cannot be combined"):
        Policy.parse(("none", "x.org"))
    assert (Policy.parse(("none",)).open, str(Policy.parse(()))) == (False, "none")


@pytest.mark.parametrize(
    "words",
    [("allow=db.example.org:5432", "pypi.example.org"), ("allow db.example.org:5432 pypi.example.org",),
     ("allow db.example.org:5432, pypi.example.org",), ("DB.example.org:5432", "Pypi.example.org")],
)  # fmt: skip
def test_an_allow_list_may_be_said_in_several_ways(words: tuple[str, ...]) -> None:
    assert Policy.parse(words).words == ("db.example.org:5432", "pypi.example.org")


def test_an_ipv6_address_is_allowed_as_urls_have_it() -> None:
    policy = Policy.parse(("[fd12::7]:8080",))
    policy.check(Target.parse("[FD12::7]:8080"), "fd12::7")
    assert (str(policy), str(Target.parse("[fd12::7]:8080"))) == ("[fd12::7]:8080", "[fd12::7]:8080")


@pytest.mark.parametrize("name", ["intranet", "db.corp", "metadata.google.internal", "printer.local", "a.localhost"])
def test_public_does_not_even_look_up_a_name_that_is_not_public(name: str) -> None:
    assert is_private_name(name)
    with pytest.raises(Denied, match="no name of the public internet"):
        PUBLIC.check_name(Target(name, 443))


def test_what_was_asked_for_becomes_an_allow_list_without_what_can_never_be() -> None:
    asked = [("b.example.org", 443), ("a.example.org", 80), ("db.example.org", 5432), ("127.0.0.1", 80), ("fd12::7", 9)]
    assert allow_words(asked) == ["[fd12::7]:9", "a.example.org", "b.example.org", "db.example.org:5432"]


SPELLINGS = st.text(st.sampled_from("0123456789abcdefx.:[]%@-\u3002\uff0e \\/\0"), max_size=20) | st.text(max_size=20)


@settings(deadline=None)
@given(SPELLINGS)
@example("127.1:80")
@example("0x7f.1:80")
@example("017700000001:80")
@example("[::ffff:7f00:1]:80")
@example("1.1.1.1:80")
def test_what_is_taken_for_a_host_no_resolver_reads_as_another_address(text: str) -> None:
    try:
        host = Target.parse(text, default_port=80).host
    except ValueError:
        return
    try:
        read = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        assert host.isascii()
        assert host.strip(" .@%\0\\/[]") == host
    else:
        assert {ipaddress.ip_address(entry[4][0]) for entry in read} == {ipaddress.ip_address(host)}


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
