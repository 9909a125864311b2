"""Whether a sandbox holds, tried out from inside it before the first model call. It fails closed: a probe that got
through, one that is missing, and a test that could not be carried out all end the run.

The host's part: it knows where to try, and listens on every address of this machine while the probe runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dockwright.errors import BoundaryError
from dockwright.sandbox import UID, Sandbox
from dockwright.sandbox.owner import started

PROBES = (
    "interfaces", "this machine", "gateways", "metadata", "direct", "dns", "vsock", "raw sockets", "abstract sockets",
    "unix sockets", "processes", "privileges",
)  # fmt: skip
SECONDS = 10.0
_METADATA = (("169.254.169.254", 80), ("fd00:ec2::254", 80), ("100.100.100.200", 80))
_DIRECT = (("1.1.1.1", 443), ("1.1.1.1", 53), ("2606:4700:4700::1111", 443))  # nothing is sent: a way there is enough
_GATEWAY_PORTS = (22, 53, 80, 2375)
_FOUND: TypeAdapter[dict[str, tuple[str, bool]]] = TypeAdapter(dict[str, tuple[str, bool]])


@dataclass(frozen=True)
class Boundary:
    """What each probe met, and which of them are leaks. `seconds` is what the test took."""

    outcomes: Mapping[str, str]
    leaks: tuple[str, ...]
    seconds: float

    def raise_for_leaks(self, sandbox: Sandbox) -> None:
        """Raises BoundaryError."""
        if self.leaks:
            found = "; ".join(f"{name}: {self.outcomes[name]}" for name in self.leaks)
            raise BoundaryError(
                f"The sandbox ({sandbox.place.backend} {sandbox.place.id}) is not closed: {found}. Nothing was run in "
                "it. Look at the engine's configuration (networks, runtime, seccomp profile); dockwright doctor helps."
            )


async def probe_boundary(sandbox: Sandbox, seconds: float = SECONDS) -> Boundary:
    """Try to get out, for at most `seconds`. Raises BoundaryError where that cannot be tried, and SandboxLost."""
    began = time.monotonic()
    async with _listening() as (port, abstract):
        own, gateways = addresses(), default_gateways()
        wanted = {
            "host": [[address, port] for address in (*own, *gateways, "127.0.0.1", "::1")],
            "gateways": [[address, port] for address in gateways for port in _GATEWAY_PORTS],
            "metadata": _METADATA, "direct": _DIRECT, "dns": name_servers(), "abstract": abstract,
            "process": (os.getpid(), started(os.getpid())), "uid": UID,
        }  # fmt: skip
        program = (files("dockwright.sandbox") / "probe.py").read_text("utf-8")
        try:
            done = await sandbox.python(program, cwd="/", stdin=json.dumps(wanted).encode(), timeout=seconds)
        except OSError as error:
            raise BoundaryError(
                f"The boundary of the sandbox could not be tested: {error}. Nothing was run."
            ) from error
    try:
        found = _FOUND.validate_json(done.stdout)
    except ValidationError:
        found = {}
    if done.exit_code != 0 or set(found) != set(PROBES):
        said = (done.stderr or done.stdout)[-500:].decode("utf-8", "replace").strip()
        raise BoundaryError(
            f"The boundary of the sandbox could not be tested: the probe {done.ended} with {done.exit_code} and said: "
            f"{said}. Nothing was run."
        )
    outcomes = {name: found[name][0][:500] for name in PROBES}
    leaks = tuple(name for name in PROBES if found[name][1])
    return Boundary(outcomes, leaks, time.monotonic() - began)


@asynccontextmanager
async def _listening() -> AsyncIterator[tuple[int, str]]:
    """A port that answers on every address of this machine, and an abstract socket."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"the host")
        writer.close()

    name = f"dockwright-{secrets.token_hex(8)}"
    async with contextlib.AsyncExitStack() as stack:
        server = await asyncio.start_server(greet, "0.0.0.0", 0)  # noqa: S104 - every address is the point
        stack.callback(server.close)
        port = int(server.sockets[0].getsockname()[1])
        with contextlib.suppress(OSError):  # no IPv6 here, or somebody has that port
            stack.callback((await asyncio.start_server(greet, "::", port)).close)
        stack.callback((await asyncio.start_unix_server(greet, f"\0{name}")).close)
        yield port, name


def addresses() -> tuple[str, ...]:
    """Every address of this machine but loopback: those of its bridges are what containers see of it."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
        found = {above.split()[-1] for above, line in pairwise(lines) if "/32 host LOCAL" in line}
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0])))
    return tuple(sorted(address for address in found if address != "::1" and not address.startswith(("127.", "fe80:"))))


def default_gateways() -> tuple[str, ...]:
    """Where this machine's own routes lead, and where those of a container on the engine's usual bridge do."""
    found = {"172.17.0.1"}
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text().splitlines()[1:]:
            _, destination, gateway, *_ = line.split()
            if destination == "00000000" and gateway != "00000000":
                found.add(socket.inet_ntoa(struct.pack("=L", int(gateway, 16))))
        for line in Path("/proc/net/ipv6_route").read_text().splitlines():
            destination, length, _, _, gateway, *_ = line.split()
            if length == "00" and int(gateway, 16) and not gateway.startswith("fe80"):
                found.add(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(gateway)))
    return tuple(sorted(found))


def name_servers() -> tuple[str, ...]:
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path("/etc/resolv.conf").read_text("utf-8", "replace").splitlines()]
        return tuple(line[1] for line in lines if len(line) > 1 and line[0] == "nameserver")
    return ()
