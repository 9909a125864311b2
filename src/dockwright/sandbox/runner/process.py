"""Processes of a call: exactly the descendants of its supervisor, however they fork, daemonise or rename themselves.

The supervisor is a fork of the runner, with the runner's rights, that is the subreaper of one command: orphans come to
it and to nobody else, so a tree can be stopped, killed and proven gone, and what is left behind is known. When nothing
is, the next command may be its.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import resource
import signal
import socket
import time
from functools import partial

from dockwright.sandbox.runner.budget import Usage
from dockwright.sandbox.runner.capture import Capture
from dockwright.sandbox.runner.guard import LIBC, first_to_go
from dockwright.sandbox.runner.program import become, close_all_but
from dockwright.sandbox.runner.wire import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from dockwright.sandbox.runner.loop import Loop, Task

ORDER = ("argv", "code", "cwd", "env", "merge", "stdin")
CGROUP = "/sys/fs/cgroup"
OOM_FILES = tuple(filter(os.path.exists, (f"{CGROUP}/memory.events", f"{CGROUP}/memory/memory.oom_control")))
NEXT, MOST_IDLE = b"n", 3  # what asks a supervisor for the next program; how many wait to be asked
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NO_PROCESS = "no process can be started: the sandbox's limit on processes is reached. Stop background jobs first"
ALL_AFTER, GIVE_UP_AFTER = 3.0, 15.0  # seconds of killing one tree: until all of the agent's go, until we go on


class World:
    """What every command needs to know: who the agent is (0: nobody else than us) and who of ours is alive."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.uid, self.gid = loop, 0, 0
        self.output, self.largest_file = "/tmp", resource.RLIM_INFINITY  # noqa: S108 - told by the host at the start
        self.alone = False  # whether all processes there belong to this sandbox
        self.children: dict[int, Supervisor] = {}
        self.idle: list[Supervisor] = []  # the last of them comes next

    def command(self, ident: str, call: dict[str, Any], *, at_once: bool = False) -> Command:
        """Run argv; who watches the next command is made ready while this one runs, or is the same."""
        while self.idle and not self.idle[-1].is_ready():
            self.idle.pop()
        supervisor = self.idle.pop() if self.idle else Supervisor(self)
        command = Command(supervisor, ident, call, at_once=at_once)
        command.exited.add_done_callback(lambda _: self.loop.call_later(0.001, partial(self.prepare, command)))
        return command

    def prepare(self, last: Command | None = None) -> None:
        """Have somebody ready for the command that follows this one."""
        if self.idle:
            self.idle[-1].prepare()
        elif last is None or not (last.orderly and last.gone.done()):  # else its supervisor is at work again already
            with contextlib.suppress(BlockingIOError):  # no process is to be had now
                self.idle.append(Supervisor(self))


class Supervisor:
    """Our end of one: a process with the runner's rights that runs a command and watches what it starts until none of
    it is left, then another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.line, theirs = socket.socketpair()
        try:
            self.pid = os.fork()
        except OSError:
            self.line.close()
            theirs.close()
            raise
        if self.pid == 0:
            supervise(world, theirs)
        theirs.close()
        self.command: Command | None = None
        self.prepared = True
        world.children[self.pid] = self

    def prepare(self) -> None:
        """Let it fork the next program, which waits for its order: it then costs an exec."""
        if not self.prepared:
            self.prepared = True
            with contextlib.suppress(OSError):  # it was killed
                self.line.send(NEXT)

    def is_ready(self) -> bool:
        self.prepare()
        try:
            said = self.line.recv(1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            said = b""
        if said:  # of a program that was not to be had, or was killed before there was an order
            self.line.close()
        return False

    def order(self, call: dict[str, Any], fds: list[int]) -> None:
        data = marshal.dumps({name: call[name] for name in ORDER})
        data = len(data).to_bytes(4, "big") + data
        with contextlib.suppress(OSError):  # the agent may have stopped what waits, where there is one user for all
            os.killpg(self.pid, signal.SIGCONT)
        with contextlib.suppress(OSError):  # killed before it began
            self.line.sendall(data[socket.send_fds(self.line, [data], fds) :])

    def free(self, *, again: bool) -> None:
        """Its command is over; `again` where there may be another."""
        self.world.loop.remove_reader(self.line.fileno())
        self.command, self.prepared = None, False
        if again and len(self.world.idle) < MOST_IDLE:
            self.world.idle.insert(0, self)
        else:
            self.line.close()

    def ended(self, *, killed: bool = False) -> None:
        if self.command:
            self.command.told()
        if self.command:
            self.command.over(killed=killed)
        if self in self.world.idle:
            self.world.idle.remove(self)
        self.line.close()


class Command:
    """A program and everything it starts, alive until none of it is left."""

    def __init__(self, supervisor: Supervisor, ident: str, call: dict[str, Any], *, at_once: bool = False) -> None:
        """With `at_once`, the file that takes the output is there from the start."""
        self.world, self.supervisor, self.id = supervisor.world, supervisor, ident
        self.killed, self.polled, self.leftovers = False, 0, False
        self.orderly = False  # it ended of its own accord, so that it had its order
        self.cwd, self.ended, self.allowance = "", "exit", Usage()
        self.full: str | None = None
        self.watching: Task | None = None
        self.live: Callable[[bytes], None] | None = None
        loop = self.world.loop
        self.exited, self.gone = loop.create_future(), loop.create_future()
        self.out = self.err = Capture(call["limit"], f"{self.world.output}/{ident}.log", at_once)
        self.stdin = -1
        out, out_w = os.pipe2(os.O_CLOEXEC)
        self._cwd, cwd_w = os.pipe2(os.O_CLOEXEC)
        self.pipes, theirs = {out: self.out}, [out_w, cwd_w]
        if not call["merge"]:
            err, err_w = os.pipe2(os.O_CLOEXEC)
            self.pipes[err] = self.err = Capture(call["limit"], f"{self.world.output}/{ident}.err")
            theirs.append(err_w)
        if call["stdin"]:
            in_r, self.stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self.stdin, False)
            theirs.append(in_r)
        for fd in (*self.pipes, self._cwd):
            os.set_blocking(fd, False)
        for fd in self.pipes:
            loop.add_reader(fd, partial(self.drain, fd))
        supervisor.command = self
        loop.add_reader(supervisor.line.fileno(), self.told)
        supervisor.order(call, theirs)
        for fd in theirs:
            os.close(fd)

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
        """The supervisor says "!errno where" when the program did not start, "code leftovers" when it ended, and "gone"
        when what it left has."""
        try:
            said = self.supervisor.line.recv(4096, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:  # it was killed: how the command ended is told when all of it is gone
            self.world.loop.remove_reader(self.supervisor.line.fileno())
        for line in said.splitlines():
            first, _, second = line.partition(b" ")
            if first.startswith(b"!"):
                self.finish(error=OSError(int(first[1:]), second.decode()))
            elif line != b"gone":
                self.finish(int(first))
                self.leftovers, self.orderly = second == b"1", int(first) < 128
            if line == b"gone" or second == b"0":
                self.over()

    def finish(self, code: int = 0, error: OSError | None = None) -> None:
        if self.exited.done():
            return
        with contextlib.suppress(BlockingIOError):
            words = os.read(self._cwd, 4097)
            self.cwd = words.decode("utf-8", "replace").splitlines()[-1] if 0 < len(words) <= 4096 else ""
        if error:
            self.exited.set_exception(error)
        else:
            self.exited.set_result(code)

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
            while fresh := [pid for pid in descendants(self.supervisor.pid, processes()) if pid not in pids]:
                pids += fresh
                for pid in fresh:
                    send_signal(pid, signal.SIGSTOP)
            rounds.kill(pids)
            await self.world.loop.wait(self.gone, 0.005)
        self.flush()

    def over(self, *, killed: bool = False) -> None:
        """All of it is gone; `killed` where its supervisor was, and cannot have told how it ended."""
        if not self.exited.done():
            self.ended = "killed" if self.ended == "exit" else self.ended
            self.finish(128 + signal.SIGKILL)
        self.killed = self.killed or killed
        self.orderly = self.orderly and not self.killed
        self.close_stdin()
        os.close(self._cwd)
        self.supervisor.free(again=self.orderly)
        self.gone.set_result(None)

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


def supervise(world: World, line: socket.socket) -> None:
    """The supervisor's whole life: fork a program, tell how it ended, reap its orphans, again; never return."""
    try:
        gc.disable()
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
        close_all_but(0, 1, 2, line.fileno())
        os.umask(0o022)
        resource.setrlimit(resource.RLIMIT_FSIZE, (world.largest_file, world.largest_file))
        watch(world, line)
        while line.recv(1) == NEXT:
            watch(world, line)
    finally:
        os._exit(0)


def watch(world: World, line: socket.socket) -> None:
    """Fork a program and reap until nothing of it is left."""
    try:
        program = os.fork()
    except OSError as error:
        line.send(f"!{error.errno} {NO_PROCESS}\n".encode())
        raise
    if program == 0:
        become(world, line)
    ended, left = False, True
    while left:
        pid, code = os.wait()
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            left = False
        if pid == program:
            code, ended = os.waitstatus_to_exitcode(code), True
            line.send(b"%d %d\n" % (code if code >= 0 else 128 - code, left), socket.MSG_NOSIGNAL)
        elif ended and not left:
            line.send(b"gone\n", socket.MSG_NOSIGNAL)


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
    for path in OOM_FILES:
        try:
            with open(path, "rb") as file:
                return next(int(line.split()[1]) for line in file if line.startswith(b"oom_kill "))
        except (OSError, StopIteration):
            continue
    return 0
