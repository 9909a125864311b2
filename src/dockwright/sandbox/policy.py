"""What may be reached from a sandbox: decided on one parsed name, and again on each address that it leads to.

`public` reaches ports 80 and 443 of global addresses; `allow` reaches what the user named, private networks included.
Nothing reaches this machine, the infrastructure of its network, or an address that carries such a one inside.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dockwright.errors import ConfigError

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
WEB_PORTS = (80, 443)
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*\Z")
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")  # a last label like this makes resolvers read an address (WHATWG URL)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?\Z")

# What Python 3.11 takes for global and is not, by the IANA special-purpose registries.
_NOT_GLOBAL = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
# Where clouds tell their machines who they are, besides link-local addresses.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")))
# Names that mean something else, or something private, to each resolver (RFC 6761, 6762, 8375, 9476, ICANN).
_PRIVATE_NAMES = (
    "localhost", "local", "internal", "intranet", "private", "corp", "home", "lan", "localdomain", "home.arpa", "alt",
    "onion", "test", "invalid",
)  # fmt: skip


class Denied(Exception):
    """The policy says no; the text is told to whoever asked."""


@dataclass(frozen=True)
class Target:
    """A host and a port as they will be resolved, checked and dialled: one parse, used for all three."""

    host: str
    port: int

    @classmethod
    def parse(cls, authority: str, default_port: int | None = None) -> Target:
        """From HOST, HOST:PORT or [IPv6]:PORT. Raises ValueError for every spelling that is not the plain one, so that
        no two parsers can see two hosts in it."""
        found = _AUTHORITY.fullmatch(authority.lower()) if authority.isascii() else None
        port = int(found["port"]) if found and found["port"] else default_port
        if found is None or port is None or not 0 < port < 65536:
            raise ValueError(f"{authority[:80]!a} is not a HOST:PORT")
        host = found["host"]
        if host.startswith("["):
            host = host[1:-1]
            if _address(host) is None or ":" not in host:
                raise ValueError(f"{authority[:80]!a} is not an IPv6 address as it is written plainly")
        elif not _NAME.fullmatch(host):
            raise ValueError(f"{authority[:80]!a} is not a host name")
        elif _NUMBER.fullmatch(host.rpartition(".")[2]) and _address(host) is None:
            raise ValueError(f"{authority[:80]!a} is an address spelled in an odd way")
        return cls(host, port)

    @property
    def address(self) -> IP | None:
        """The address, where the host is one."""
        return _address(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(text: str) -> IP | None:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return ip if str(ip) == text else None


@dataclass(frozen=True)
class Policy:
    """`hosts` are the names the user allowed, with a port or None for 80 and 443; `public` adds global addresses."""

    public: bool = False
    hosts: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def parse(cls, words: tuple[str, ...]) -> Policy:
        """From `none`, `public`, or hosts: `*.example.org`, `db.example.org:5432`, `[fd12::7]:80`, each or several with
        `allow` before them. Raises ConfigError."""
        hosts: set[tuple[str, int | None]] = set()
        public = False
        plain: list[str] = []
        for word in words:
            allowed = re.fullmatch(r"allow[ =](.+)", word)
            plain += re.split(r"[ ,]+", allowed[1].strip()) if allowed else [word]
        for word in plain:
            if word == "public":
                public = True
            elif word != "none":
                hosts.add(_allowed(word))
        if "none" in plain and len(plain) > 1:
            raise ConfigError("--net none allows nothing; it cannot be combined with other --net values.")
        return cls(public, frozenset(hosts))

    @property
    def open(self) -> bool:
        return self.public or bool(self.hosts)

    @property
    def words(self) -> tuple[str, ...]:
        """As `parse` takes them, in order."""
        hosts = ((f"[{name}]" if ":" in name else name, port) for name, port in sorted(self.hosts, key=str))
        return (*(["public"] * self.public), *(name if port is None else f"{name}:{port}" for name, port in hosts))

    def __str__(self) -> str:
        return ", ".join(self.words) or "none"

    def named(self, target: Target) -> bool:
        """Whether the user allowed this very host and port."""
        for name, wanted in self.hosts:
            same = target.host.endswith(name[1:]) if name.startswith("*.") else target.host == name
            if same and target.port in (WEB_PORTS if wanted is None else (wanted,)):
                return True
        return False

    def check_name(self, target: Target) -> None:
        """Raises Denied where no address could make it right: such a name is never looked up, as a query is a way out
        (a name can carry data)."""
        if self.named(target):
            return
        if not self.public:
            raise Denied(f"only {self} may be reached")
        if target.port not in WEB_PORTS:
            raise Denied(f"port {target.port} is not 80 or 443")
        if target.address is None and is_private_name(target.host):
            raise Denied(f"{target.host} is no name of the public internet")

    def check(self, target: Target, address: str) -> None:
        """Raises Denied unless this address may be dialled for this target."""
        self.check_name(target)
        if "%" in address:
            raise Denied(f"{target.host} is {address}, which is on a link of this machine")
        ip = ipaddress.ip_address(address)
        if any(_is_infrastructure(form) or is_own(form) for form in forms(ip)):
            raise Denied(f"{target.host} is {ip}, an address of this machine or its network's infrastructure")
        if not self.named(target) and not is_public(ip):
            raise Denied(f"{target.host} is {ip}, which is not a public address")


def _allowed(word: str) -> tuple[str, int | None]:
    star = word.lower().startswith("*.")
    try:
        if word == "allow":
            raise ValueError(word)
        target = Target.parse(word[2:] if star else word, default_port=WEB_PORTS[0])
        if star and (target.address is not None or "." not in target.host):
            raise ValueError(word)
    except ValueError:
        raise ConfigError(f"--net {word}: neither none, public nor a HOST or HOST:PORT to allow.") from None
    port = target.port if re.search(r":[0-9]+\Z", word) and not word.endswith("]") else None
    return ("*." if star else "") + target.host, port


def allow_words(asked: Iterable[tuple[str, int]]) -> list[str]:
    """What to allow for these hosts and ports; a host on a web port is named without it. Those that could never be
    allowed are left out."""
    words = set()
    for host, port in asked:
        name = f"[{host}]" if ":" in host else host
        ip = _address(host)
        if ip is None or not any(_is_infrastructure(form) or is_own(form) for form in forms(ip)):
            words.add(name if port in WEB_PORTS else f"{name}:{port}")
    return sorted(words)


def is_private_name(host: str) -> bool:
    """Whether a name cannot be one of the public DNS."""
    return "." not in host or any(host == name or host.endswith(f".{name}") for name in _PRIVATE_NAMES)


def is_public(ip: IP) -> bool:
    """Whether it is one address of the public internet, and not a form of another."""
    if not ip.is_global or ip.is_multicast or ip.is_reserved or any(ip in net for net in _NOT_GLOBAL):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return True
    return ip in _GLOBAL_UNICAST and len(tuple(forms(ip))) == 1


def forms(ip: IP) -> Iterator[IP]:
    """The address and every IPv4 address that it carries: mapped, compatible, 6to4, Teredo, NAT64, ISATAP."""
    yield ip
    if isinstance(ip, ipaddress.IPv4Address):
        return
    low = int(ip) & 0xFFFFFFFF
    if ip.sixtofour:
        yield ip.sixtofour
    yield from ip.teredo or ()
    compatible = int(ip) >> 32 == 0 and low > 1
    isatap = (int(ip) >> 32) & 0xFDFFFFFF == 0x5EFE
    if ip.ipv4_mapped or compatible or isatap or any(ip in network for network in _NAT64):
        yield ipaddress.IPv4Address(low)


def _is_infrastructure(ip: IP) -> bool:
    return (
        ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast or ip in _METADATA
        or (isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local)
        or (isinstance(ip, ipaddress.IPv4Address) and (ip.is_reserved or int(ip) >> 24 == 0))
    )  # fmt: skip


def is_own(ip: IP) -> bool:
    """Whether this machine has the address now: it is where a socket can be bound. Broadcast addresses are, too."""
    family = socket.AF_INET if isinstance(ip, ipaddress.IPv4Address) else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(ip), 0))
        except OSError:
            return False
    return True
