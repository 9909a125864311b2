"""The program that tries to get out of a sandbox, run inside it as the agent's user before anything else is.

Standard library only; its source is handed to the sandbox's own interpreter. It reads what to try as JSON from stdin
and prints, for each probe, what came of it and whether that is a leak. Without a route the kernel answers at once.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Iterator
from typing import Any

ANSWER_SECONDS, MOST_PATHS = 0.05, 2000
NO_WAY = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES, errno.EPERM,
     errno.ENETDOWN}
)  # fmt: skip
ENGINES = (
    "/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock",
    "/run/crio/crio.sock", "/run/systemd/private", "/run/dbus/system_bus_socket",
)  # fmt: skip
# A query for the name server of the root, as small as one can be.
QUERY = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01"
Outcome = tuple[str, bool]


def is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def attempts(kind: socket.SocketKind, targets: list[list[Any]], send: bytes) -> Iterator[Outcome]:
    """Connect to all at once. On the way to another machine, a connection that is merely under way is a leak; on
    loopback, which is the sandbox's own, only what answers with bytes of the host's is."""
    waiting: dict[int, tuple[socket.socket, str]] = {}
    poll = select.poll()
    for address, port in targets:
        where = f"{address}:{port}"
        try:
            sock = socket.socket(family_of(address), kind | socket.SOCK_NONBLOCK)
            number = sock.connect_ex((address, port))
            if number in NO_WAY:
                continue
            if not is_loopback(address):
                yield f"there is a way to {where} ({os.strerror(number) if number else 'connected'})", True
            elif number in (0, errno.EINPROGRESS):
                if kind == socket.SOCK_DGRAM:
                    sock.send(send)
                waiting[sock.fileno()] = sock, where
                poll.register(sock, select.POLLIN)
        except OSError:
            continue
    until = time.monotonic() + ANSWER_SECONDS
    while waiting and (left := until - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            poll.unregister(fd)
            sock, where = waiting.pop(fd)
            try:
                if sock.recv(64):
                    yield f"{where} answers", True
            except OSError:
                continue


def first_leak(outcomes: Iterator[Outcome], otherwise: str) -> Outcome:
    found = [text for text, leak in outcomes if leak]
    return ("; ".join(found[:4]), True) if found else (otherwise, False)


def tcp(targets: list[list[Any]]) -> Outcome:
    return first_leak(attempts(socket.SOCK_STREAM, targets, b""), "no way there")


def dns(servers: list[str]) -> Outcome:
    known = {*servers, "127.0.0.11", "127.0.0.53", "127.0.0.1"}
    try:
        with open("/etc/resolv.conf") as file:
            known |= {line.split()[1] for line in file if line.startswith("nameserver") and len(line.split()) > 1}
    except (OSError, UnicodeDecodeError):
        pass
    usable = [[server.split("%")[0], 53] for server in sorted(known)]
    return first_leak(attempts(socket.SOCK_DGRAM, usable, QUERY), "no server answers")


def interfaces() -> Outcome:
    with open("/proc/net/dev") as file:
        names = sorted(line.split(":")[0].strip() for line in file if ":" in line)
    return f"only {', '.join(names)}" if names == ["lo"] else f"there are {', '.join(names)}", names != ["lo"]


def vsock() -> Outcome:
    """Not bound to a network namespace: such a socket leads to the hypervisor, and to every other user of one here."""
    try:
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        return f"refused ({error.strerror})", False
    sock.close()
    return "such a socket can be made", True


def raw_sockets() -> Outcome:
    for family, kind in ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW)):
        try:
            socket.socket(family, kind, socket.IPPROTO_ICMP).close()
        except OSError:
            continue
        return f"a raw socket of family {family.name} can be made", True
    return "refused", False


def connects(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        return sock.connect_ex(address) in (0, errno.EAGAIN)


def abstract(name: str) -> Outcome:
    found = connects(f"\0{name}")
    return ("a listener of the host answers", True) if found else ("none of the host's", False)


def unix_sockets() -> Outcome:
    """Where engines are, what is mounted, and the usual folders: nothing that listens is there at the start."""
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split()[4].encode().decode("unicode_escape") for line in file]
    places = [place for place in mounts if not place.startswith(("/proc", "/sys", "/dev"))]
    found = []
    for path in {*ENGINES, *places, *below(["/run", "/var/run", "/tmp", *places], 2)}:  # noqa: S108
        try:
            if stat.S_ISSOCK(os.stat(path).st_mode) and (path in ENGINES or connects(path)):
                found.append(path)
        except (OSError, ValueError):
            continue
    return (f"somebody listens at {', '.join(sorted(found)[:4])}", True) if found else ("nobody listens", False)


def below(folders: list[str], depth: int) -> Iterator[str]:
    left = MOST_PATHS
    queue = [(folder, depth) for folder in folders if folder != "/"]
    while queue and left > 0:
        folder, more = queue.pop(0)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    left -= 1
                    if left <= 0:
                        return
                    if more > 1 and entry.is_dir(follow_symlinks=False):
                        queue.append((entry.path, more - 1))
                    yield entry.path
        except OSError:
            continue


def processes(host: list[Any]) -> Outcome:
    """The host's process is known by its number and the time it began."""
    pid, began = host
    try:
        with open(f"/proc/{pid}/stat") as file:
            seen = file.read().rpartition(")")[2].split()[19] == began
    except OSError:
        seen = False
    return ("those of the host are seen", True) if seen else ("none of the host's", False)


def privileges(uid: int) -> Outcome:
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    faults = []
    if {*status["Uid"].split(), *status["Gid"].split()} != {str(uid)}:
        faults.append(f"uid {status['Uid'].split()[0]}, gid {status['Gid'].split()[0]}")
    held = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16)]
    faults += [f"capabilities in {', '.join(held)}"] if held else []
    faults += ["new privileges can be had"] if status["NoNewPrivs"] != "1" else []
    faults += ["system calls are not filtered"] if status.get("Seccomp") != "2" else []
    return ("; ".join(faults), True) if faults else (f"uid {uid}, no capabilities, filtered", False)


def main() -> None:
    wanted = json.load(sys.stdin)
    found = {
        "interfaces": interfaces(),
        "this machine": tcp(wanted["host"]),
        "gateways": tcp(wanted["gateways"]),
        "metadata": tcp(wanted["metadata"]),
        "direct": tcp(wanted["direct"]),
        "dns": dns(wanted["dns"]),
        "vsock": vsock(),
        "raw sockets": raw_sockets(),
        "abstract sockets": abstract(wanted["abstract"]),
        "unix sockets": unix_sockets(),
        "processes": processes(wanted["process"]),
        "privileges": privileges(wanted["uid"]),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
