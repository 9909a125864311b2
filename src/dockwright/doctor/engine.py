"""The Docker engine: how it was found, whether it answers and why not, and what of it a run would stumble over."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from dockwright.doctor.lines import GIB, Grade, Line
from dockwright.errors import SandboxError
from dockwright.sandbox.address import Address, find_engine
from dockwright.sandbox.docker import RUNTIME_IMAGE, WORKBENCH
from dockwright.sandbox.engine import LABEL, connect
from dockwright.services.kinds import IMAGE as SERVICES_IMAGE
from dockwright.services.setup import SETUP_LABEL

SECONDS = 4
# What the engine hands out where its configuration says nothing: 31 networks, and not one more.
_USUAL_POOLS = (
    *({"Base": f"172.{second}.0.0/16", "Size": 16} for second in range(17, 32)),
    {"Base": "192.168.0.0/16", "Size": 20},
)  # fmt: skip
_FEW = 3
_FIXED = {"engine": (29, 5, 1), "runc": (1, 2, 8)}  # the releases with the last escapes closed that are known of


def examine_engine(env: Mapping[str, str]) -> Iterator[Line]:
    """Lines about the engine; where none answers only why, and what to do."""
    at = find_engine(env)
    if fault := _reach(at.url):
        grade: Grade = "fail" if at.named or not fault[0].startswith("there is no socket") else "warn"
        yield Line(grade, "engine", f"{at.url} ({at.how}): {fault[0]}. {fault[1]}")
        return
    try:
        client = connect(SECONDS)
    except SandboxError as error:
        yield Line("fail", "engine", f"{at.url} ({at.how}): {error}")
        return
    try:
        version, info = client.version(), client.info()
        yield _engine(at, version, info)
        yield from _isolation(version, info)
        yield _pools(info.get("DefaultAddressPools") or _USUAL_POOLS, client.networks.list())
        have = {tag for image in client.images.list() for tag in image.tags}
        for name in (WORKBENCH, RUNTIME_IMAGE, SERVICES_IMAGE):
            there = name in have
            needed: Grade = "warn" if name == SERVICES_IMAGE else "fail"  # only for --services
            yield Line("ok" if there else needed, "image", name if there else f"{name} is missing: dockwright image")
        if made := client.images.list(filters={"label": SETUP_LABEL}):
            yield Line("ok", "setups", f"{len(made)} images kept by --setup (dockwright gc --images removes them)")
        left = client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True)
        if left:
            names = ", ".join(container.name or container.id or "?" for container in left)
            yield Line("ok", "containers", f"{names}: of runs that go on, or that were killed (dockwright gc)")
    except Exception as error:  # noqa: BLE001 - whatever an engine answers, the other lines are wanted
        yield Line("fail", "engine", f"it answers, but not as an engine does: {error}. Restart it.")
    finally:
        client.close()


def _reach(url: str) -> tuple[str, str] | None:
    """Why nobody answers there, and the cure."""
    parts = urlsplit(url)
    unix = parts.scheme == "unix"
    if parts.scheme not in ("unix", "tcp", "http"):
        return None
    start = "Start it: systemctl start docker (or install it), or choose --sandbox bubblewrap"
    try:
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as sock:
            sock.settimeout(SECONDS)
            sock.connect(parts.path if unix else (parts.hostname or "", parts.port or 2375))
            sock.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            if not sock.recv(1):
                return "it hangs up without an answer", "Look at journalctl -u docker"
    except FileNotFoundError:
        return f"there is no socket {parts.path}", start
    except ConnectionRefusedError:
        return "nobody listens there: the engine is not running", start
    except PermissionError:
        return (
            "you may not open it",
            "Join its group (sudo usermod -aG docker $USER, then log in anew) or run it rootless",
        )
    except TimeoutError:
        return f"it takes the call and says nothing for {SECONDS} s", "It is wedged: systemctl restart docker"
    except OSError as error:
        return str(error), "Check DOCKER_HOST and the docker context"
    return None


def _engine(at: Address, version: Mapping[str, Any], info: Mapping[str, Any]) -> Line:
    api = tuple(int(part) for part in version["ApiVersion"].split("."))
    facts = (
        f"{version['Version']}, API {version['ApiVersion']}, by {at.how} ({at.url})",
        f"{info['Driver']}, cgroup v{info.get('CgroupVersion', '?')}, {info['NCPU']} CPUs",
        f"{info['MemTotal'] / GIB:.0f} GiB, runtimes {', '.join(sorted(info.get('Runtimes') or []))}",
    )
    if api < (1, 41):
        return Line("fail", "engine", f"{facts[0]}: too old, API 1.41 is needed. Update it to 20.10 or later.")
    return Line("ok", "engine", "; ".join(facts))


def _isolation(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Line]:
    options = {option.partition("name=")[2].partition(",")[0] for option in info.get("SecurityOptions") or []}
    if "rootless" in options:
        users = "rootless: root inside is you outside"
    elif "userns" in options:
        users = "user namespaces: root inside is nobody outside"
    else:
        users = "root inside is root outside; a rootless engine or userns-remap would be safer"
    yield Line("ok", "users", users)
    if "seccomp" not in options:
        yield Line("warn", "seccomp", "the engine has no system call filter; ours is the only one. Use its default.")
    components = {part.get("Name"): part.get("Version", "") for part in version.get("Components") or []}
    for name, said in (("engine", version["Version"]), ("runc", components.get("runc", ""))):
        numbers = tuple(map(int, re.findall(r"\d+", said)[:3]))
        if numbers and numbers < _FIXED[name]:
            fixed = ".".join(map(str, _FIXED[name]))
            yield Line(
                "warn", name, f"{said}: escapes are known that {fixed} closed, unless your packages did. Update."
            )


def _pools(pools: Sequence[Mapping[str, Any]], networks: Sequence[Any]) -> Line:
    """How many networks the engine can still make, of all that are there, whosever."""
    taken = [
        ipaddress.ip_network(part["Subnet"], strict=False)
        for network in networks
        for part in ((network.attrs.get("IPAM") or {}).get("Config") or [])
        if part.get("Subnet")
    ]
    free = total = 0
    for pool in pools:
        for subnet in ipaddress.ip_network(pool["Base"]).subnets(new_prefix=pool["Size"]):
            total += 1
            free += not any(subnet.version == other.version and subnet.overlaps(other) for other in taken)
    if not free:
        cure = "Remove networks that nobody uses: docker network prune; or give the engine more (default-address-pools)"
        return Line("fail", "networks", f"all {total} address ranges are taken: no network can be made. {cure}.")
    return Line("ok" if free > _FEW else "warn", "networks", f"{free} of {total} address ranges are free")
