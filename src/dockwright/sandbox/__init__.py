"""An isolated place where calls act. A backend launches it and hands back a stream; everything else is here.

All paths are paths inside the sandbox. Nothing that arrives from inside is trusted: sizes are bounded by the channel
and no path that comes back is ever opened on the host.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from dockwright.errors import ConfigError, SandboxLost
from dockwright.sandbox.channel import Channel, Stream

WORKSPACE = "/workspace"
HOME = "/home/agent"
RUNTIME = "/opt/dockwright"
OUTPUT = "/tmp/dockwright"  # noqa: S108 - inside the sandbox, where the whole output of each command is kept
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

OnOutput = Callable[[bytes], None]


@dataclass(frozen=True)
class ExecResult:
    """How a command ended and what it printed.

    `exit_code` is the shell's way of telling: 128 + n for signal n. It is None only where `ended` is not "exit".
    `stdout` and `stderr` hold at most the asked-for bytes, the first and the last half of them; `size` is how much
    there was of both together and `output_file` holds all of it (up to the runner's cap). With merged output, stderr is empty.
    `cwd` is the working directory of the command when it exited, where it told it. `job` is the id under which
    processes that it left behind go on. `hidden` is how many bytes of stdout and stderr were left out in the middle.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    ended: Literal["exit", "timeout", "cancelled"]
    seconds: float
    size: int
    hidden: int = 0
    output_file: str | None = None
    cwd: str | None = None
    job: str | None = None
    oom: bool = False


@dataclass(frozen=True)
class Job:
    """A command in the background. `output` is what is new since the last poll; all of it is in `output_file`."""

    id: str
    status: Literal["running", "exited", "killed"]
    exit_code: int | None
    output: bytes
    output_file: str


@dataclass(frozen=True)
class Stat:
    """`kind` is that of the path itself: a link is a "link" and `target` is its text. `mode` is the permission bits."""

    kind: Literal["file", "directory", "link", "other"]
    size: int
    mode: int
    mtime_ns: int
    target: str | None = None


class Place(Protocol):
    """What a backend launches: somewhere with a runner in it. The only thing that backends implement."""

    backend: str
    id: str
    image: str

    async def start_runner(self) -> Channel:
        """Start a runner and hand back its channel. Raises SandboxError or SandboxLost."""

    async def why_lost(self) -> str:
        """What is known of why the runner went away: out of memory, exit code, signal, engine gone. Never raises."""

    async def close(self) -> None:
        """Remove everything that was launched. Safe to call twice; never hangs."""


@dataclass
class Sandbox:
    """A running sandbox. Missing files, directories and permissions raise the standard OSError kinds;
    a broken sandbox raises SandboxLost at once, never an ExecResult."""

    place: Place
    channel: Channel
    network: str = "none"
    env: Mapping[str, str] = field(default_factory=dict)

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 120.0,  # noqa: ASYNC109 - enforced inside the sandbox, where the processes are
        limit: int = 1 << 20,
        merge: bool = False,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        """Run a program as the agent's user in a session of its own and wait until it exits.

        argv[0] is looked up in PATH inside. `env` is added to the sandbox's own; nothing is inherited. `timeout` is in
        seconds, after which the whole process tree is dead. `limit` bounds each of stdout and stderr, in bytes.
        Cancelling the call kills the tree too. A program that cannot be started raises the OSError that exec gave.
        """
        raise NotImplementedError

    async def spawn(self, argv: Sequence[str], *, cwd: str = WORKSPACE, env: Mapping[str, str] | None = None) -> Job:
        """Start a program in the background; it lives until it exits, is killed, or the sandbox closes."""
        raise NotImplementedError

    async def poll(self, job: str) -> Job:
        """State and new output of a background job. Raises KeyError for an unknown id."""
        raise NotImplementedError

    async def kill(self, job: str) -> Job:
        """Kill a background job with its whole tree and return its last state. Raises KeyError for an unknown id."""
        raise NotImplementedError

    async def read(self, path: str, *, offset: int = 0, limit: int | None = None) -> bytes:
        """The bytes of a regular file, links followed. Devices, FIFOs and sockets are refused (OSError EINVAL)."""
        raise NotImplementedError

    async def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """Replace or create a file atomically (temporary file, fsync, rename), making parent folders.

        An existing file keeps its mode unless `mode` is given; a new one gets 0o644. A link is not followed: ELOOP.
        """
        raise NotImplementedError

    async def stat(self, path: str, *, follow: bool = False) -> Stat:
        raise NotImplementedError

    async def connect(self, port: int) -> Stream:
        """A tunnel to a TCP port on the sandbox's loopback. Raises ConnectionRefusedError."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
