"""The runner's loop: frames in, calls carried out as the agent's user, frames out. Everything it is told is data."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import time
from collections import deque
from functools import partial
from importlib.util import MAGIC_NUMBER

from dockwright.sandbox.runner import wire
from dockwright.sandbox.runner.budget import Budget, Usage, Watch
from dockwright.sandbox.runner.files import look, read_file, write_file
from dockwright.sandbox.runner.guard import LIBC, close_in, file_rights_of, give_up_capabilities
from dockwright.sandbox.runner.loop import Cancelled, Future, Loop, Task
from dockwright.sandbox.runner.marks import Facts, mark_of
from dockwright.sandbox.runner.process import (
    NO_PROCESS,
    PR_SET_CHILD_SUBREAPER,
    Command,
    Rounds,
    Supervisor,
    World,
    descendants,
    first_word,
    oom_kills,
    processes,
    send_signal,
)
from dockwright.sandbox.runner.tcp import both, connected, listen, receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

WATCH_SECONDS, FORK_ATTEMPTS = 0.25, 20


class Call:
    """One open stream: what the host sends on it, and the credit it gave for what is sent back."""

    def __init__(self, runner: Runner, stream: int) -> None:
        self.runner, self.stream = runner, stream
        self.credit, self.uncredited = wire.WINDOW, 0
        self.incoming: deque[bytes] = deque()
        self.credited = self.arrived = Future(runner.loop)
        self.task: Task | None = None

    async def send(self, kind: int, data: bytes) -> None:
        for start in range(0, len(data), wire.CHUNK):
            piece = data[start : start + wire.CHUNK]
            while self.credit < len(piece):
                self.credited = self.runner.loop.create_future()
                await self.credited
            self.credit -= len(piece)
            self.runner.frame(kind, self.stream, piece)

    def take(self, data: bytes) -> None:
        self.incoming.append(data)
        self.arrived.wake()

    async def receive(self) -> bytes:
        """The next bytes, b"" at their end; credit for them goes back to the host."""
        if not self.incoming:
            self.arrived = self.runner.loop.create_future()
            await self.arrived
        data = self.incoming.popleft()
        self.uncredited += len(data)
        if self.uncredited >= wire.BATCH:
            self.runner.frame(wire.CREDIT, self.stream, wire.NUMBER.pack(self.uncredited))
            self.uncredited = 0
        return data


class Runner:
    """Frames in, calls carried out, frames out."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.world = loop, World(loop)
        self.calls: dict[int, Call] = {}
        self.jobs: dict[str, Command] = {}
        self.found: dict[str, Facts] = {}  # what marks were made of
        self.inbox, self.outbox, self.flushing = wire.Frames(), bytearray(), False
        self.sent, self.over = loop.create_future(), loop.create_future()
        self.count, self.next_stream = 0, 2
        self.watch: Watch

    # the stream

    def frame(self, kind: int, stream: int, payload: bytes) -> None:
        self.outbox += wire.frame(kind, stream, payload)
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self.flush)

    def answer(self, kind: int, stream: int, value: Any) -> None:
        self.frame(kind, stream, json.dumps(value).encode())

    def flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self.outbox[: os.write(1, self.outbox)]
        if len(self.outbox) < wire.WINDOW:
            self.sent.wake()
        if self.outbox:
            self.loop.add_writer(1, self.flush)
        else:
            self.loop.remove_writer(1)
            self.flushing = False

    def readable(self) -> None:
        try:
            data = os.read(0, 1 << 18)
        except BlockingIOError:
            return
        if not data:
            self.over.wake()
            return
        for kind, stream, payload in self.inbox.feed(data):
            self.handle(kind, stream, payload)

    def handle(self, kind: int, stream: int, payload: bytes) -> None:
        if kind == wire.OPEN:
            call = self.calls[stream] = Call(self, stream)
            call.task = self.loop.create_task(self.carry_out(call, json.loads(payload)))
            return
        open_call = self.calls.get(stream)
        if open_call is None:
            return
        if kind == wire.DATA:
            open_call.take(payload)
        elif kind == wire.END:
            open_call.take(b"")
        elif kind == wire.CREDIT:
            open_call.credit += wire.NUMBER.unpack(payload)[0]
            open_call.credited.wake()
        elif kind == wire.CANCEL and open_call.task:
            open_call.task.cancel()

    async def carry_out(self, call: Call, args: dict[str, Any]) -> None:
        method: Callable[[Call, dict[str, Any]], Awaitable[Any]] = getattr(self, "do_" + args["do"])
        try:
            self.answer(wire.DONE, call.stream, await method(call, args))
        except OSError as error:
            failure = {"errno": error.errno or errno.EIO, "text": error.strerror or str(error)}
            self.answer(wire.FAIL, call.stream, failure)
        except KeyError as error:
            self.answer(wire.FAIL, call.stream, {"unknown": str(error.args[0])})
        except Cancelled:
            self.answer(wire.FAIL, call.stream, {"errno": errno.ECANCELED, "text": "cancelled"})
        finally:
            del self.calls[call.stream]

    # calls

    async def do_start(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        """Take on the identity: own the agent's folders, then keep only what signals and the agent's user need. What a
        runner before this one left behind is killed."""
        world = self.world
        world.output, world.largest_file = args["output"], args["disk"]
        os.makedirs(world.output, exist_ok=True)
        if args["uid"] is not None:
            world.uid, world.gid = args["uid"], args["gid"]
            for path in (*args["own"], world.output):
                os.chown(path, world.uid, world.gid)
            give_up_capabilities()
            file_rights_of(world.uid, world.gid)
        close_in()
        world.alone = first_word(1) == first_word("self")  # either we are the first process, or it is ours
        if world.alone:
            send_signal(-1, signal.SIGKILL)  # all but ourselves and the first process
        self.watch = Watch(self.loop, Budget(Usage(args["disk"], args["inodes"]), args["watch"], tuple(args["crowd"])))
        self.loop.call_soon(world.prepare)
        shell = next((path for path in ("/bin/bash", "/usr/bin/bash") if os.path.exists(path)), "sh")
        return {"pid": os.getpid(), "shell": shell, "magic": MAGIC_NUMBER.hex()}

    async def do_exec(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        began, ooms = time.monotonic(), oom_kills()
        command = await self.command(args)
        if args["live"]:
            command.live = lambda data: self.live(call, data)
        feeding = self.loop.create_task(self.feed(call, command)) if args["stdin"] else None
        try:
            if not await self.loop.wait(command.exited, args["timeout"]):
                await command.stop("timeout")
        except Cancelled:
            await command.stop("cancelled")
        finally:
            if feeding:
                feeding.cancel()
        if command.ended != "exit":
            await command.kill()
        command.flush()
        code = command.exited.result() if command.ended == "exit" else None
        if command.leftovers and not command.gone.done():
            self.jobs[command.id] = command
            command.polled = command.out.size
        await call.send(wire.DATA, command.out.shown())
        if command.err is not command.out:
            await call.send(wire.ERR, command.err.shown())
        captures = {command.out, command.err}
        over = await self.watch.over() if self.watch.is_near() else None
        return {
            "exit_code": code, "ended": command.ended, "seconds": time.monotonic() - began, "cwd": command.cwd or None,
            "size": sum(c.size for c in captures), "hidden": sum(c.size - len(c.shown()) for c in captures),
            "output_file": command.out.path if command.out.spilled else None, "stored": command.out.stored,
            "job": command.id if command.id in self.jobs else None, "oom": oom_kills() > ooms,
            "full": self.watch.budget.text(over) if over else command.full,
        }  # fmt: skip

    async def command(self, args: dict[str, Any], *, at_once: bool = False) -> Command:
        """Start one. It may use what the budget leaves, and where that is nothing, what is used already."""
        over = await self.watch.over() if self.watch.is_near() else None
        self.count += 1
        for attempt in range(FORK_ATTEMPTS):
            try:
                command = self.world.command(f"{self.count}-{os.getpid()}", args, at_once=at_once)
                break
            except BlockingIOError as error:
                if attempt == FORK_ATTEMPTS - 1:
                    raise OSError(errno.EAGAIN, NO_PROCESS) from error
                await self.loop.sleep(0.1)
        limit = self.watch.budget.limit
        command.allowance = over.widened(limit, limit) if over else limit
        command.watching = self.loop.create_task(self.keep_within(command))
        return command

    async def keep_within(self, command: Command) -> None:
        """Stop a command when the files have become too many or too large under it."""
        while not command.gone.done():
            await self.loop.wait(command.gone, WATCH_SECONDS)
            if command.gone.done() or not (self.watch.is_near() or self.watch.is_old()):
                continue
            used = await self.watch.over()
            if used and used.exceeds(command.allowance) and not command.gone.done():
                command.full = self.watch.budget.text(used)
                command.out.add(f"\n[Stopped. {command.full}]\n".encode())
                await command.stop("disk")

    async def feed(self, call: Call, command: Command) -> None:
        while data := await call.receive():
            while data and command.stdin >= 0:
                try:
                    data = data[os.write(command.stdin, data) :]
                except BlockingIOError:
                    await self.loop.writable(command.stdin)
                except OSError:  # it does not read
                    return
        command.close_stdin()

    def live(self, call: Call, data: bytes) -> None:
        if call.credit >= len(data):
            call.credit -= len(data)
            self.frame(wire.LIVE, call.stream, data)

    async def do_spawn(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        command = await self.command(args, at_once=True)
        self.jobs[command.id] = command
        await self.loop.wait(command.exited, 0.02)  # long enough for a program that is not there
        if command.exited.done() and command.exited.exception():
            del self.jobs[command.id]
            command.exited.result()
        return command.state()

    async def do_poll(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        command = self.jobs[args["job"]]
        state = command.state()
        fresh = command.out.size - command.polled
        command.polled = command.out.size
        await call.send(wire.DATA, command.out.shown()[-fresh:] if fresh else b"")
        return state

    async def do_kill(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        await self.jobs[args["job"]].kill()
        return await self.do_poll(call, args)

    async def do_read(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        return await read_file(args, partial(call.send, wire.DATA))

    async def do_write(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        return await write_file(args, call.receive, self.count)

    async def do_stat(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        return look(args)

    async def do_mark(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        return {"mark": await mark_of(args, self.found, self.loop.sleep)}

    async def do_ping(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        return {}

    async def do_connect(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        sock = await connected(self.loop, args["port"])
        self.answer(wire.OPEN, call.stream, {})
        await self.tunnel(call, sock)
        return {}

    async def do_listen(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        """Accept on loopback; each connection becomes a stream that the runner opens towards the host."""
        listen(self.loop, args["port"], partial(self.accepted, args["port"]))
        return {}

    def accepted(self, port: int, sock: socket.socket) -> None:
        async def serve() -> None:
            self.answer(wire.OPEN, inner.stream, {"port": port})
            try:
                await self.tunnel(inner, sock)
            except Cancelled:  # the host does not want it
                pass
            finally:
                self.answer(wire.DONE, inner.stream, {})
                del self.calls[inner.stream]

        inner = self.calls[self.next_stream] = Call(self, self.next_stream)
        inner.task = self.loop.create_task(serve())
        self.next_stream += 2

    async def tunnel(self, call: Call, sock: socket.socket) -> None:
        async def inwards() -> None:
            while data := await call.receive():
                await send(self.loop, sock, data)
            sock.shutdown(socket.SHUT_WR)

        async def outwards() -> None:
            while data := await receive(self.loop, sock, wire.CHUNK):
                while len(self.outbox) >= wire.WINDOW:  # what is more urgent need not wait behind all the tunnels
                    if self.sent.done():
                        self.sent = self.loop.create_future()
                    await self.sent
                await call.send(wire.DATA, data)
            self.frame(wire.END, call.stream, b"")

        try:
            await both(self.loop, inwards(), outwards())
        finally:
            sock.close()

    # children

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):  # only the agent stops a supervisor, where there is one user for all
                if pid in self.world.children:
                    send_signal(pid, signal.SIGKILL)
                continue
            supervisor = self.world.children.pop(pid, None)
            if supervisor and os.WIFSIGNALED(status):
                self.loop.create_task(self.bury(supervisor))
            elif supervisor:
                supervisor.ended()

    async def bury(self, supervisor: Supervisor) -> None:
        """It was killed, so what it watched has come to us: that ends, too."""
        rounds = Rounds(self.world)
        while strays := self.strays():
            rounds.kill(strays)
            await self.loop.sleep(0.005)
            if rounds.hopeless():
                break
        supervisor.ended(killed=True)

    def strays(self) -> list[int]:
        parents = processes()
        roots = {pid for pid in parents.get(os.getpid(), []) if pid not in self.world.children}
        return [pid for root in roots - {self.watch.child} for pid in (root, *descendants(root, parents))]

    async def end(self) -> None:
        """Nothing outlives the runner."""
        for supervisor in tuple(self.world.children.values()):
            if supervisor.command:
                await supervisor.command.kill()


def main() -> None:
    os.dup2(os.open("/dev/null", os.O_RDWR), 9)
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    with contextlib.suppress(OSError):  # it may be a socket
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    loop = Loop()
    runner = Runner(loop)
    loop.on_signal(signal.SIGCHLD, runner.reap)
    loop.add_reader(0, runner.readable)
    runner.answer(wire.DONE, 0, {"runner": 1})
    loop.run(until=runner.over)
    loop.run(until=loop.create_task(runner.end()))
