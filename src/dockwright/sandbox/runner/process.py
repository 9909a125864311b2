"""Processes of a call: exactly the descendants of its supervisor, however they fork, daemonise or rename themselves.

The supervisor is a fork of the runner, with the runner's rights, that is the subreaper of one command: orphans come to
it and to nobody else, so a tree can be stopped, killed and proven gone, and what is left behind is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dockwright.sandbox.runner.wire import CHUNK

SPILL_AFTER, SPILL_CAP = 1 << 13, 1 << 28
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38


@dataclass
class World:
    """What every command needs to know: who the agent is (0: nobody else than us) and who of ours is alive."""

    loop: asyncio.AbstractEventLoop
    uid: int = 0
    gid: int = 0
    output: str = "/tmp"  # noqa: S108 - told by the host at the start
    children: dict[int, Command] = field(default_factory=dict)


class Capture:
    """The first and last bytes of what a command prints, and all of it in a file once it is more than a little."""

    def __init__(self, limit: int, path: str, at_once: bool = False) -> None:
        self.half, self.path, self.fd = max(limit // 2, 1), path, -1
        self.head, self.tail, self.size, self.kept = bytearray(), bytearray(), 0, bytearray()
        if at_once:
            self.spill()

    def spill(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            self.path = ""
        self.store(bytes(self.kept))
        self.kept.clear()

    def store(self, data: bytes) -> None:
        if self.fd >= 0 and self.size <= SPILL_CAP:
            try:
                os.write(self.fd, data)
            except OSError:  # the disk is full: the head and the tail are still told
                self.size = max(self.size, SPILL_CAP + 1)

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[max(room, 0) :]
        if len(self.tail) > 2 * self.half:
            del self.tail[: len(self.tail) - self.half]
        if self.fd < 0 and self.path:
            self.kept += data
            if len(self.kept) > SPILL_AFTER:
                self.spill()
        else:
            self.store(data)

    def shown(self) -> bytes:
        return bytes(self.head + self.tail[-self.half :])


class Command:
    """A program and everything it starts, alive until none of it is left."""

    def __init__(self, world: World, ident: str, call: dict[str, Any], at_once: bool = False) -> None:
        self.world, self.id, self.killed, self.polled, self.leftovers = world, ident, False, 0, False
        self.out = Capture(call["limit"], f"{world.output}/{ident}.log", at_once)
        self.err = self.out if call["merge"] else Capture(call["limit"], f"{world.output}/{ident}.err")
        self.live: Callable[[bytes], None] | None = None
        self.exited: asyncio.Future[int] = world.loop.create_future()
        self.gone: asyncio.Future[None] = world.loop.create_future()
        self.pipes: dict[int, Capture] = {}
        self.cwd: str | None = None
        out_r, out_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        err_r, err_w = (out_r, out_w) if call["merge"] else os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.cwd_r, cwd_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.status_r, status_w = os.pipe2(os.O_CLOEXEC)
        in_r, self.stdin = os.pipe2(os.O_CLOEXEC) if call["stdin"] else (os.open("/dev/null", os.O_RDONLY), -1)
        for fd in (out_w, err_w):
            os.set_blocking(fd, True)
        self.supervisor = os.fork()
        if self.supervisor == 0:
            supervise(world, call, (in_r, out_w, err_w, cwd_w), status_w)
        for fd in {in_r, out_w, err_w, cwd_w, status_w}:
            os.close(fd)
        for fd, capture in {out_r: self.out, err_r: self.err}.items():
            self.pipes[fd] = capture
            world.loop.add_reader(fd, self.drain, fd)
        world.loop.add_reader(self.status_r, self.told)
        world.children[self.supervisor] = self

    def drain(self, fd: int) -> bool:
        """Take what the pipe holds; whether there was something."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self.world.loop.remove_reader(fd)
            del self.pipes[fd]
            os.close(fd)
            return False
        self.pipes[fd].add(data)
        if self.live:
            self.live(data)
        return True

    def flush(self) -> None:
        """Take what the command left in the pipes when it exited; what goes on printing is a job's."""
        for fd in tuple(self.pipes):
            for _ in range(32):
                if not self.drain(fd):
                    break

    def told(self) -> None:
        """The supervisor says "!errno where" when the program did not start, or "code leftovers" when it ended."""
        data = os.read(self.status_r, 64)
        self.world.loop.remove_reader(self.status_r)
        os.close(self.status_r)
        self.cwd = self.last_cwd()
        os.close(self.cwd_r)
        first = data.split(b"\n")[0]
        if first.startswith(b"!"):
            number, where = first[1:].split()
            self.exited.set_exception(OSError(int(number), where.decode()))
        elif first:
            code, left = first.split()
            self.leftovers = left == b"1"
            self.exited.set_result(int(code))
        else:  # the supervisor itself was killed
            self.exited.set_result(128 + signal.SIGKILL)

    def last_cwd(self) -> str | None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.cwd_r, 4097)
            if data and len(data) <= 4096:
                return data.decode("utf-8", "replace").splitlines()[-1]
        return None

    async def kill(self) -> None:
        """Stop, kill and look again until nothing of the tree is left."""
        self.killed = True
        while not self.gone.done():
            pids: list[int] = []
            while fresh := [pid for pid in descendants(self.supervisor) if pid not in pids]:
                pids += fresh
                for pid in fresh:
                    send_signal(pid, signal.SIGSTOP)
            for pid in pids:
                send_signal(pid, signal.SIGKILL)
            await asyncio.wait([self.gone], timeout=0.005)
        self.flush()

    def reaped(self) -> None:
        self.gone.set_result(None)
        if self.stdin >= 0:
            os.close(self.stdin)
        self.stdin = -1

    def state(self) -> dict[str, Any]:
        """As a background job: what is new since it was last asked."""
        self.flush()
        running = not self.gone.done()
        code = self.exited.result() if self.exited.done() and not self.exited.exception() else None
        status = "running" if running else "killed" if self.killed else "exited"
        return {"id": self.id, "status": status, "exit_code": code, "output_file": self.out.path}


def supervise(world: World, call: dict[str, Any], fds: tuple[int, int, int, int], status: int) -> None:
    """The supervisor's whole life: start the program, tell how it ended, reap its orphans, never return."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        program = os.fork()
        if program == 0:
            start(world, call, fds, status)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.closerange(3, status)
        os.closerange(status + 1, 1 << 20)
        while True:
            pid, code = os.wait()
            if pid == program:
                code = os.waitstatus_to_exitcode(code)
                try:
                    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                    left = 1
                except ChildProcessError:
                    left = 0
                os.write(status, b"%d %d\n" % (code if code >= 0 else 128 - code, left))
                os.close(status)
    finally:  # ChildProcessError: nobody is left
        os._exit(0)


def start(world: World, call: dict[str, Any], fds: tuple[int, int, int, int], status: int) -> None:
    """Become the program: own session, the agent's user, no privileges, four descriptors and nothing else."""
    where = "cwd"
    try:
        os.setsid()
        for wanted, fd in zip((0, 1, 2, 9), fds, strict=True):  # the runner keeps 9 free of anything else
            os.dup2(fd, wanted)
        if world.uid:
            os.setgroups([])
            os.setresgid(world.gid, world.gid, world.gid)
            os.setresuid(world.uid, world.uid, world.uid)
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        os.umask(0o022)
        os.chdir(call["cwd"])
        where = "program"
        os.execvpe(call["argv"][0], call["argv"], call["env"])
    except OSError as error:
        os.write(status, f"!{error.errno or errno.EIO} {where}\n".encode())
    finally:
        os._exit(127)


def descendants(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
            except OSError:
                continue
    found, queue = [], [root]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def send_signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def oom_kills() -> int:
    """How often the kernel killed for memory in this sandbox; cgroup v2, then v1."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        try:
            with open(path, "rb") as file:
                return next(int(line.split()[1]) for line in file if line.startswith(b"oom_kill "))
        except (OSError, StopIteration):
            continue
    return 0
