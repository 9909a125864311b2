"""Processes of a call: exactly the descendants of its supervisor, however they fork, daemonise or rename themselves.

The supervisor is a fork of the runner, with the runner's rights, that is the subreaper of one command: orphans come to
it and to nobody else, so a tree can be stopped, killed and proven gone, and what is left behind is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from functools import partial

from dockwright.sandbox.runner.budget import Usage
from dockwright.sandbox.runner.guard import LIBC, first_to_go
from dockwright.sandbox.runner.program import become, close_all_but
from dockwright.sandbox.runner.wire import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dockwright.sandbox.runner.loop import Loop, Task

SPILL_AFTER, SPILL_CAP = 1 << 13, 1 << 28
ORDER = ("argv", "code", "cwd", "env", "merge", "stdin")
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NO_PROCESS = "no process can be started: the sandbox's limit on processes is reached. Stop background jobs first"
ALL_AFTER, GIVE_UP_AFTER = 3.0, 15.0  # seconds of killing one tree: until all of the agent's go, until we go on


class World:
    """What every command needs to know: who the agent is (0: nobody else than us) and who of ours is alive."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.uid, self.gid = loop, 0, 0
        self.output, self.largest_file = "/tmp", resource.RLIM_INFINITY  # noqa: S108 - told by the host at the start
        self.alone = False  # whether all processes there belong to this sandbox
        self.children: dict[int, Command] = {}
        self.spare: Command | None = None

    def command(self, ident: str, call: dict[str, Any], *, at_once: bool = False) -> Command:
        """Run argv; the next command is made ready while this one runs."""
        ready, self.spare = self.spare, None
        command = Command(self) if ready is None or ready.gone.done() else ready
        command.order(ident, call, at_once=at_once)
        command.exited.add_done_callback(lambda _: self.loop.call_later(0.001, self.prepare))
        return command

    def prepare(self) -> None:
        if self.spare is None:
            with contextlib.suppress(BlockingIOError):  # no process is to be had now
                self.spare = Command(self)


class Capture:
    """The first and last bytes of what a command prints, and all of it in a file once it is more than a little."""

    def __init__(self, limit: int, path: str, at_once: bool = False) -> None:
        self.half, self.path, self.fd, self.spilled = max(limit // 2, 1), path, -1, False
        self.head, self.tail, self.size, self.kept = bytearray(), bytearray(), 0, bytearray()
        self.stored = 0
        if at_once:
            self.spill()

    def spill(self) -> None:
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self.spilled = True
        except OSError:
            self.path = ""
        self.store(bytes(self.kept))
        self.kept.clear()

    def store(self, data: bytes) -> None:
        if self.fd >= 0 and self.size <= SPILL_CAP:
            try:
                self.stored += os.write(self.fd, data)
            except OSError:  # the disk is full: the head and the tail are still told
                self.close()

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[max(room, 0) :]
        if len(self.tail) > 2 * self.half:
            del self.tail[: len(self.tail) - self.half]
        if self.path and not self.spilled:
            self.kept += data
            if len(self.kept) > SPILL_AFTER:
                self.spill()
        else:
            self.store(data)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    def shown(self) -> bytes:
        return bytes(self.head + self.tail[-self.half :])


class Command:
    """A program and everything it starts, alive until none of it is left.

    Made ahead of time: supervisor and program are forked and wait. `order` says what to run, which then costs an exec.
    """

    def __init__(self, world: World) -> None:
        self.world, self.killed, self.polled, self.leftovers = world, False, 0, False
        self.id, self.cwd, self.ended, self.allowance = "", "", "exit", Usage()
        self.full: str | None = None
        self.watching: Task | None = None
        self.out = self.err = Capture(0, "")
        self.live: Callable[[bytes], None] | None = None
        self.exited = world.loop.create_future()
        self.gone = world.loop.create_future()
        self.pipes: dict[int, Capture] = {}
        in_r, self.stdin = os.pipe2(os.O_CLOEXEC)
        self._out_r, out_w = os.pipe2(os.O_CLOEXEC)
        self._err_r, err_w = os.pipe2(os.O_CLOEXEC)
        self._cwd_r, cwd_w = os.pipe2(os.O_CLOEXEC)
        self._status_r, status_w = os.pipe2(os.O_CLOEXEC)
        order_r, self._order_w = os.pipe2(os.O_CLOEXEC)
        theirs = (in_r, out_w, err_w, cwd_w, status_w, order_r)
        try:
            self.supervisor = os.fork()
        except OSError:
            ours = (self.stdin, self._out_r, self._err_r, self._cwd_r, self._status_r, self._order_w)
            for fd in (*theirs, *ours):
                os.close(fd)
            raise
        if self.supervisor == 0:
            supervise(world, theirs)
        for fd in theirs:
            os.close(fd)
        for fd in (self.stdin, self._out_r, self._err_r, self._cwd_r):
            os.set_blocking(fd, False)
        world.children[self.supervisor] = self

    def order(self, ident: str, call: dict[str, Any], *, at_once: bool = False) -> None:
        """Run argv. With `at_once`, the file that takes the output is there from the start."""
        self.id = ident
        self.out = self.err = Capture(call["limit"], f"{self.world.output}/{ident}.log", at_once)
        self.pipes[self._out_r] = self.out
        if call["merge"]:
            os.close(self._err_r)
        else:
            self.pipes[self._err_r] = self.err = Capture(call["limit"], f"{self.world.output}/{ident}.err")
        for fd in self.pipes:
            self.world.loop.add_reader(fd, partial(self.drain, fd))
        self.world.loop.add_reader(self._status_r, self.told)
        if not call["stdin"]:
            self.close_stdin()
        with contextlib.suppress(OSError):  # the agent may have stopped what waits, where there is one user for all
            os.killpg(self.supervisor, signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError), open(self._order_w, "wb") as pipe:  # broken: killed before it began
            pipe.write(json.dumps({name: call[name] for name in ORDER}).encode())

    def close_stdin(self) -> None:
        if self.stdin >= 0:
            self.world.loop.remove_writer(self.stdin)
            os.close(self.stdin)
        self.stdin = -1

    def drain(self, fd: int) -> bool:
        """Take what the pipe holds; whether there was something."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self.world.loop.remove_reader(fd)
            self.pipes.pop(fd).close()
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
        data = os.read(self._status_r, 256)
        self.world.loop.remove_reader(self._status_r)
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._cwd_r, 4097)
            self.cwd = said.decode("utf-8", "replace").splitlines()[-1] if 0 < len(said) <= 4096 else ""
        os.close(self._status_r)
        os.close(self._cwd_r)
        self._status_r = -1
        first = data.split(b"\n")[0]
        if first.startswith(b"!"):
            number, where = first[1:].split(None, 1)
            self.exited.set_exception(OSError(int(number), where.decode()))
        elif first:
            code, left = first.split()
            self.leftovers = left == b"1"
            self.exited.set_result(int(code))
        # nothing: the supervisor itself was killed, and how the command ended is said when all of it is gone

    async def stop(self, why: str) -> None:
        """Kill it before it is done; `why` is then how it ended."""
        if not self.exited.done() and self.ended == "exit":
            self.ended = why
        await self.kill()

    async def kill(self) -> None:
        """Stop, kill and look again until nothing of the tree is left. What forks faster than can be looked is killed
        with everything else of the agent's."""
        self.killed, rounds = True, Rounds(self.world)
        while not self.gone.done() and not rounds.hopeless():
            pids: list[int] = []
            while fresh := [pid for pid in descendants(self.supervisor, processes()) if pid not in pids]:
                pids += fresh
                for pid in fresh:
                    send_signal(pid, signal.SIGSTOP)
            rounds.kill(pids)
            await self.world.loop.wait(self.gone, 0.005)
        self.flush()

    def reaped(self, *, killed: bool = False) -> None:
        """All of it is gone; `killed` where its supervisor was, and cannot have told how it ended."""
        if self.id and self._status_r >= 0:
            self.told()
        if not self.exited.done():
            self.ended = "killed" if self.ended == "exit" else self.ended
            self.exited.set_result(128 + signal.SIGKILL)
        self.killed = self.killed or killed
        self.gone.set_result(None)
        self.close_stdin()
        if not self.id:  # it was made ahead, and never had an order
            for fd in (self._out_r, self._err_r, self._cwd_r, self._status_r, self._order_w):
                os.close(fd)

    def state(self) -> dict[str, Any]:
        """As a background job: what is new since it was last asked."""
        self.flush()
        running = not self.gone.done()
        code = self.exited.result() if self.exited.done() and not self.exited.exception() else None
        status = "running" if running else "killed" if self.killed else "exited"
        return {"id": self.id, "status": status, "exit_code": code, "output_file": self.out.path}


class Rounds:
    """Rounds of killing, and when to stop being choosy."""

    def __init__(self, world: World) -> None:
        self.world, self.began = world, time.monotonic()

    def kill(self, pids: list[int]) -> None:
        for pid in pids:
            send_signal(pid, signal.SIGKILL)
        if self.world.alone and time.monotonic() - self.began > ALL_AFTER:
            send_signal(-1, signal.SIGKILL)

    def hopeless(self) -> bool:
        """A process that the kernel itself does not let go."""
        return time.monotonic() - self.began > GIVE_UP_AFTER


def supervise(world: World, fds: tuple[int, ...]) -> None:
    """The supervisor's whole life: fork the program, tell how it ended, reap its orphans, never return."""
    *_, status, _ = fds
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)
        first_to_go()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        close_all_but(0, 1, 2, *fds)
        try:
            program = os.fork()
        except OSError as error:
            os.write(status, f"!{error.errno} {NO_PROCESS}\n".encode())
            raise
        if program == 0:
            become(world, fds)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # where the program did not start, nobody listens any more
        close_all_but(0, 1, 2, status)
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


def processes() -> dict[int, list[int]]:
    """The children of each process, as they are now."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(name))
            except OSError:
                continue
    return parents


def descendants(root: int, parents: dict[int, list[int]]) -> list[int]:
    found, queue = [], [root]
    while queue:
        children = parents.get(queue.pop(), [])
        found += children
        queue += children
    return found


def first_word(process: int | str) -> bytes:
    with open(f"/proc/{process}/cmdline", "rb") as file:
        return file.read().split(b"\0")[0]


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
