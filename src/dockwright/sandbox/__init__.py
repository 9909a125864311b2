"""An isolated place where calls act. A backend launches it and hands back a stream; everything else is here.

All paths are paths inside the sandbox. Nothing that arrives from inside is trusted: sizes are bounded by the channel
and no path that comes back is ever opened on the host.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from dockwright.errors import SandboxLost
from dockwright.sandbox.asked import Asked
from dockwright.sandbox.channel import Channel, ChannelLost, Stream
from dockwright.sandbox.closing import in_full
from dockwright.sandbox.lifeline import Lifeline, OnStream
from dockwright.sandbox.runner import code

WORKSPACE = "/workspace"
HOME = "/home/agent"
RUNTIME = "/opt/dockwright"
OUTPUT = "/tmp/dockwright"  # noqa: S108 - inside the sandbox, where the whole output of each command is kept
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

UID = 1000
DISK, INODES = 10 << 30, 1_000_000  # what may be used of the disk, unless somebody says otherwise
ENV = {
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "PYTHONUNBUFFERED": "1",
}

OnOutput = Callable[[bytes], None]
Found = Literal["nothing", "workspace", "all"]


@dataclass(frozen=True)
class ExecResult:
    """How a command ended and what it printed.

    `exit_code` is the shell's way of telling: 128 + n for signal n. It is None only where `ended` is not "exit".
    `stdout` and `stderr` hold at most the asked-for bytes, the first and the last half of them; `size` is how much
    there was of both together and `output_file` holds the first `stored` bytes of stdout: all of it, but for a cap.
    With merged output, stderr is empty. `ended` is "killed" where the command broke what watched over it, and "disk"
    where it took more of it than is allowed; `full` says what is used, also where a command exited in time.
    `cwd` is the working directory of the command when it exited, where it told it. `job` is the id under which
    processes that it left behind go on. `hidden` is how many bytes of stdout and stderr were left out in the middle.
    """

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    ended: Literal["exit", "timeout", "cancelled", "killed", "disk"]
    seconds: float
    size: int
    hidden: int = 0
    output_file: str | None = None
    cwd: str | None = None
    job: str | None = None
    oom: bool = False
    stored: int = 0
    full: str | None = None


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
    """What a backend launches: somewhere with a runner in it. The only thing that backends implement.

    `again` is to take over what a process that is gone left of it; `found` is what was there. `left` is to let it be
    when it is closed, so that it can be found."""

    backend: str
    id: str
    image: str
    env: dict[str, str]  # what the image sets for its programs, known once it was launched
    disk: int  # bytes that the workspace may take
    inodes: int  # files and folders that there may be
    again: bool
    found: Found
    left: bool

    @property
    def runtime(self) -> str:
        """Where our bin/python3, bin/git and bin/rg are inside."""

    async def start_runner(self) -> Channel:
        """Launch what is not there yet, start a runner in it and hand back its channel. Raises SandboxError. Called
        again, when the runner has died: in the same place, with the same files."""

    async def is_alive(self) -> bool:
        """Whether the place is there and its processes may run: not gone, not paused. False where nobody answers, too.
        Takes seconds at most and never raises."""

    async def why_lost(self) -> str:
        """What is known of why the runner went away: out of memory, exit code, signal, engine gone. Never raises."""

    async def close(self) -> None:
        """Remove everything that was launched. Safe to call twice; never hangs."""


@dataclass
class Sandbox:
    """A running sandbox. Missing files, directories and permissions raise the standard OSError kinds;
    a broken sandbox raises SandboxLost at once, never an ExecResult."""

    place: Place
    line: Lifeline
    network: str = "none"
    env: Mapping[str, str] = field(default_factory=dict)
    shell: str = "sh"
    asked: Asked = field(default_factory=Asked)
    runtime: str = RUNTIME  # where bin/python3, bin/git and bin/rg of ours are

    @property
    def channel(self) -> Channel:
        """That of the runner which is there now."""
        return self.line.channel

    async def exec(
        self,
        argv: Sequence[str],
        *,
        cwd: str = WORKSPACE,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 120.0,  # noqa: ASYNC109 - enforced inside, where the processes are
        limit: int = 1 << 20,
        merge: bool = False,
        on_output: OnOutput | None = None,
    ) -> ExecResult:
        """Run a program as the agent's user in a session of its own and wait until it exits.

        argv[0] is looked up in PATH inside. `env` is added to the sandbox's own, which is the image's; nothing else is.
        `timeout` is in seconds, after which the whole process tree is dead. `limit` bounds each of stdout and stderr,
        in bytes. What the program writes to descriptor 9 is taken as its working directory. Cancelling the call kills
        the tree too. A program that cannot be started raises the OSError that exec gave.
        """
        call = self._command("exec", argv, cwd, env, limit, merge=merge)
        call |= {"stdin": bool(stdin), "timeout": timeout, "live": on_output is not None}
        return await self._result(call, stdin, on_output)

    async def python(
        self,
        program: str,
        *arguments: str,
        cwd: str = WORKSPACE,
        stdin: bytes = b"",
        timeout: float = 120.0,  # noqa: ASYNC109 - enforced inside, where the processes are
        limit: int = 1 << 20,
    ) -> ExecResult:
        """Run a program of ours as `python3 -I -S -c` would, in a process like any command's. It is given as its source
        and takes nothing but the standard library and its arguments. What it registers to be done at exit is not done.
        """
        call = self._command("exec", ("-c", *arguments), cwd, None, limit, merge=False)
        call |= {"code": code(program, str(self.line.answer["magic"])), "stdin": bool(stdin), "timeout": timeout}
        return await self._result(call, stdin)

    async def spawn(self, argv: Sequence[str], *, cwd: str = WORKSPACE) -> Job:
        """Start a program in the background; it lives until it exits, is killed, or the sandbox closes."""
        call = self._command("spawn", argv, cwd, None, 1 << 16, merge=True)
        answer, _ = await self._call(call, {"cwd": cwd, "program": argv[0]})
        return Job(output=b"", **answer)

    async def poll(self, job: str) -> Job:
        """State and new output of a background job. Raises KeyError for an unknown id."""
        return await self._job("poll", job)

    async def kill(self, job: str) -> Job:
        """Kill a background job with its whole tree and return its last state. Raises KeyError for an unknown id."""
        return await self._job("kill", job)

    async def read(self, path: str, *, offset: int = 0, limit: int | None = None) -> bytes:
        """The bytes of a regular file, links followed. Devices, FIFOs and sockets are refused (OSError EINVAL)."""
        _, stream = await self._call({"do": "read", "path": path, "offset": offset, "limit": limit}, {"": path})
        return bytes(stream.out)

    async def write(self, path: str, data: bytes, *, mode: int | None = None) -> None:
        """Replace or create a file atomically (temporary file, fsync, rename), making parent folders.

        An existing file keeps its mode unless `mode` is given; a new one gets 0o644. A link is not followed: ELOOP.
        """
        await self._call({"do": "write", "path": path, "mode": mode}, {"": path}, data)

    async def stat(self, path: str, *, follow: bool = False) -> Stat:
        answer, _ = await self._call({"do": "stat", "path": path, "follow": follow}, {"": path})
        return Stat(**answer)

    async def mark(self, path: str, *, but: str, most: int = 3000) -> int | None:
        """A number that changes with anything in a folder but what is inside of its folder `but`. None where it cannot
        be told: more than `most` entries (where git looks faster), no right to look, changes without end. It takes no
        process, and 20 ms where something changed; it holds for files as they are read after that."""
        answer, _ = await self._call({"do": "mark", "path": path, "but": but, "most": most}, {"": path})
        mark = answer.get("mark")
        return mark if isinstance(mark, int) else None

    async def connect(self, port: int) -> Stream:
        """A tunnel to a TCP port on the sandbox's loopback. Raises ConnectionRefusedError."""
        try:
            stream = (await self.line.ready()).open({"do": "connect", "port": port})
            await stream.opened
        except ChannelLost as error:
            raise await self.lost() from error
        return stream

    async def listen(self, port: int, on_stream: OnStream) -> None:
        """Accept on a TCP port of the sandbox's loopback; each connection is handed to `on_stream`."""
        await self.line.listen(port, on_stream)

    async def lost(self) -> SandboxLost:
        """The error to raise when the channel is gone."""
        return await self.line.lost()

    def _command(
        self, do: str, argv: Sequence[str], cwd: str, env: Mapping[str, str] | None, limit: int, *, merge: bool
    ) -> dict[str, Any]:
        whole = {**self.env, **(env or {})}
        call = {"do": do, "argv": list(argv), "code": None, "cwd": cwd, "env": whole, "limit": limit, "merge": merge}
        return call | {"stdin": False, "live": False}

    async def _result(self, call: Mapping[str, Any], stdin: bytes, on_output: OnOutput | None = None) -> ExecResult:
        answer, stream = await self._call(call, {"cwd": call["cwd"], "program": call["argv"][0]}, stdin, on_output)
        return ExecResult(stdout=bytes(stream.out), stderr=bytes(stream.err), **answer)

    async def _job(self, do: str, job: str) -> Job:
        answer, stream = await self._call({"do": do, "job": job}, {})
        return Job(output=bytes(stream.out), **answer)

    async def _call(
        self, call: Mapping[str, Any], names: Mapping[str, str], data: bytes = b"", on_live: OnOutput | None = None
    ) -> tuple[Mapping[str, Any], Stream]:
        """`names` tells what an error of the call is about, by the word that the runner says with it."""
        try:
            done: tuple[Mapping[str, Any], Stream] = await self.line.call(call, data, on_live)
            return done
        except OSError as error:
            number, said = error.errno or errno.EIO, str(error.strerror)
            text = os.strerror(number) if said in names else said
            raise OSError(number, text, names.get(said, names.get(""))) from None


@asynccontextmanager
async def open_sandbox(place: Place, *, env: Mapping[str, str] | None = None) -> AsyncIterator[Sandbox]:
    """Launch a place, start its runner, and remove all of it at the end, whatever happens. Raises SandboxError, and
    SandboxLost where it could not be removed."""
    start: dict[str, Any] = {"do": "start", "output": OUTPUT, "disk": place.disk, "inodes": place.inodes}
    start |= {"watch": WORKSPACE, "crowd": [HOME, "/tmp", "/dev/shm"], "uid": None}  # noqa: S108 - inside
    if place.backend == "docker":
        start |= {"uid": UID, "gid": UID, "own": [WORKSPACE, HOME]}
    try:
        async with Lifeline(place, start).open() as line:
            shell = str(line.answer["shell"])
            base = {"PATH": PATH, "HOME": HOME, "USER": "agent", "LOGNAME": "agent", "SHELL": shell, **ENV}
            whole = {**base, **place.env, **(env or {})}
            yield Sandbox(place, line, env=whole, shell=shell, runtime=place.runtime)
    except BaseException as error:
        try:
            await in_full(place.close())
        except SandboxLost as left:
            error.add_note(str(left))
        raise
    await in_full(place.close())
