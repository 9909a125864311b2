"""The runner's loop: frames in, calls carried out as the agent's user, frames out. Everything it is told is data."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import stat
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from dockwright.sandbox.runner.process import (
    LIBC,
    PR_SET_CHILD_SUBREAPER,
    Command,
    World,
    descendants,
    oom_kills,
    send_signal,
)
from dockwright.sandbox.runner.wire import (
    BATCH,
    CANCEL,
    CHUNK,
    CREDIT,
    DATA,
    DONE,
    END,
    ERR,
    FAIL,
    LIVE,
    NUMBER,
    OPEN,
    WINDOW,
    Frames,
    frame,
)  # fmt: skip

PR_SET_DUMPABLE = 4
CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7


class Call:
    """One open stream: what the host sends on it, and the credit it gave for what is sent back."""

    def __init__(self, runner: Runner, stream: int) -> None:
        self.runner, self.stream = runner, stream
        self.credit, self.uncredited, self.can_send = WINDOW, 0, asyncio.Event()
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.task: asyncio.Task[None] | None = None

    async def send(self, kind: int, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            piece = data[start : start + CHUNK]
            while self.credit < len(piece):
                self.can_send.clear()
                await self.can_send.wait()
            self.credit -= len(piece)
            self.runner.frame(kind, self.stream, piece)

    async def receive(self) -> bytes:
        """The next bytes, b"" at their end; credit for them goes back to the host."""
        data = await self.incoming.get()
        self.uncredited += len(data)
        if self.uncredited >= BATCH:
            self.runner.frame(CREDIT, self.stream, NUMBER.pack(self.uncredited))
            self.uncredited = 0
        return data


class Runner:
    """The loop: frames in, calls carried out, frames out."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop, self.world = loop, World(loop)
        self.calls: dict[int, Call] = {}
        self.jobs: dict[str, Command] = {}
        self.inbox, self.outbox, self.flushing = Frames(), bytearray(), False
        self.sent = asyncio.Event()
        self.count, self.next_stream = 0, 2
        self.servers: list[asyncio.Server] = []

    # the stream

    def frame(self, kind: int, stream: int, payload: bytes) -> None:
        self.outbox += frame(kind, stream, payload)
        if not self.flushing:
            self.flushing = True
            self.loop.call_soon(self.flush)

    def answer(self, kind: int, stream: int, value: Any) -> None:
        self.frame(kind, stream, json.dumps(value).encode())

    def flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self.outbox[: os.write(1, self.outbox)]
        if len(self.outbox) < WINDOW:
            self.sent.set()
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
            self.loop.stop()
            return
        for kind, stream, payload in self.inbox.feed(data):
            self.handle(kind, stream, payload)

    def handle(self, kind: int, stream: int, payload: bytes) -> None:
        if kind == OPEN:
            call = self.calls[stream] = Call(self, stream)
            call.task = self.loop.create_task(self.carry_out(call, json.loads(payload)))
            return
        open_call = self.calls.get(stream)
        if open_call is None:
            return
        if kind == DATA:
            open_call.incoming.put_nowait(payload)
        elif kind == END:
            open_call.incoming.put_nowait(b"")
        elif kind == CREDIT:
            open_call.credit += NUMBER.unpack(payload)[0]
            open_call.can_send.set()
        elif kind == CANCEL and open_call.task:
            open_call.task.cancel()

    async def carry_out(self, call: Call, args: dict[str, Any]) -> None:
        method: Callable[[Call, dict[str, Any]], Awaitable[Any]] = getattr(self, "do_" + args["do"])
        try:
            self.answer(DONE, call.stream, await method(call, args))
        except OSError as error:
            self.answer(FAIL, call.stream, {"errno": error.errno or errno.EIO, "text": error.strerror or str(error)})
        except KeyError as error:
            self.answer(FAIL, call.stream, {"unknown": str(error.args[0])})
        except asyncio.CancelledError:
            self.answer(FAIL, call.stream, {"errno": errno.ECANCELED, "text": "cancelled"})
        finally:
            del self.calls[call.stream]

    # calls

    async def do_start(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        """Take on the identity: own the agent's folders, then keep only what signals and the agent's user need."""
        world = self.world
        world.output = args["output"]
        os.makedirs(world.output, exist_ok=True)
        if args["uid"] is not None:
            world.uid, world.gid = args["uid"], args["gid"]
            for path in (*args["own"], world.output):
                os.chown(path, world.uid, world.gid)
            keep = 1 << CAP_KILL | 1 << CAP_SETGID | 1 << CAP_SETUID
            if LIBC.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", keep, keep, 0, 0, 0, 0)):
                raise OSError(ctypes.get_errno(), "dropping capabilities")
            LIBC.setfsgid(world.gid)
            LIBC.setfsuid(world.uid)
        LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        self.loop.call_soon(world.prepare)
        shell = next((path for path in ("/bin/bash", "/usr/bin/bash") if os.path.exists(path)), "sh")
        return {"pid": os.getpid(), "shell": shell}

    async def do_exec(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        began, ooms = time.monotonic(), oom_kills()
        command = self.world.command(f"{self.count}-{os.getpid()}", args)
        if args["live"]:
            command.live = lambda data: self.live(call, data)
        feeding = self.loop.create_task(self.feed(call, command)) if args["stdin"] else None
        ended, code = "exit", None
        try:
            done, _ = await asyncio.wait([command.exited], timeout=args["timeout"])
            if done:
                code = command.exited.result()
            else:
                ended = "timeout"
                await command.kill()
        except asyncio.CancelledError:
            ended = "cancelled"
            await command.kill()
        finally:
            if feeding:
                feeding.cancel()
        command.flush()
        if command.leftovers and not command.gone.done():
            self.jobs[command.id] = command
            command.polled = command.out.size
        await call.send(DATA, command.out.shown())
        if command.err is not command.out:
            await call.send(ERR, command.err.shown())
        captures = {command.out, command.err}
        return {
            "exit_code": code, "ended": ended, "seconds": time.monotonic() - began, "cwd": command.cwd or None,
            "size": sum(c.size for c in captures), "hidden": sum(c.size - len(c.shown()) for c in captures),
            "output_file": command.out.path if command.out.spilled else None,
            "job": command.id if command.id in self.jobs else None, "oom": oom_kills() > ooms,
        }  # fmt: skip

    async def feed(self, call: Call, command: Command) -> None:
        while data := await call.receive():
            while data and command.stdin >= 0:
                try:
                    data = data[await self.loop.run_in_executor(None, os.write, command.stdin, data) :]
                except OSError:  # it does not read
                    return
        command.close_stdin()

    def live(self, call: Call, data: bytes) -> None:
        if call.credit >= len(data):
            call.credit -= len(data)
            self.frame(LIVE, call.stream, data)

    async def do_spawn(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        self.count += 1
        command = self.world.command(f"{self.count}-{os.getpid()}", args, at_once=True)
        self.jobs[command.id] = command
        await asyncio.wait([command.exited], timeout=0.02)  # long enough for a program that is not there
        if command.exited.done() and command.exited.exception():
            del self.jobs[command.id]
            command.exited.result()
        return command.state()

    async def do_poll(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        command = self.jobs[args["job"]]
        state = command.state()
        fresh = command.out.size - command.polled
        command.polled = command.out.size
        await call.send(DATA, command.out.shown()[-fresh:] if fresh else b"")
        return state

    async def do_kill(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        await self.jobs[args["job"]].kill()
        return await self.do_poll(call, args)

    async def do_read(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with open(os.open(args["path"], flags), "rb", buffering=0) as file:
            found = os.fstat(file.fileno())
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file: a device, a FIFO or a socket")
            file.seek(args["offset"])
            left = args["limit"] if args["limit"] is not None else sys.maxsize
            while left > 0 and (data := file.read(min(CHUNK, left))):
                left -= len(data)
                await call.send(DATA, data)
        return {"size": found.st_size}

    async def do_write(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        path, mode = args["path"], args["mode"]
        try:
            old = os.lstat(path)
            if stat.S_ISLNK(old.st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if stat.S_ISDIR(old.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(old.st_mode):
                raise OSError(errno.EINVAL, "not a regular file: a device, a FIFO or a socket")
            os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))  # may it be written?
            mode = stat.S_IMODE(old.st_mode) if mode is None else mode
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        self.count += 1
        temporary = f"{os.path.dirname(path)}/.dockwright-{os.getpid()}-{self.count}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb", buffering=0) as file:
                while data := await call.receive():
                    while data:
                        data = data[file.write(data) :]
                os.fchmod(fd, 0o644 if mode is None else mode)
                os.fsync(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        return {}

    async def do_stat(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        found = os.stat(args["path"], follow_symlinks=args["follow"])
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "other")
        return {
            "kind": kind, "size": found.st_size, "mode": stat.S_IMODE(found.st_mode), "mtime_ns": found.st_mtime_ns,
            "target": os.readlink(args["path"]) if kind == "link" else None,
        }  # fmt: skip

    async def do_connect(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", args["port"])
        self.answer(OPEN, call.stream, {})
        await self.tunnel(call, reader, writer)
        return {}

    async def do_listen(self, call: Call, args: dict[str, Any]) -> dict[str, Any]:
        """Accept on loopback; each connection becomes a stream that the runner opens towards the host."""

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner = self.calls[self.next_stream] = Call(self, self.next_stream)
            inner.task = asyncio.current_task()
            self.next_stream += 2
            self.answer(OPEN, inner.stream, {"port": args["port"]})
            try:
                await self.tunnel(inner, reader, writer)
            except asyncio.CancelledError:  # the host does not want it
                pass
            finally:
                self.answer(DONE, inner.stream, {})
                del self.calls[inner.stream]

        self.servers.append(await asyncio.start_server(accepted, "127.0.0.1", args["port"]))
        return {}

    async def tunnel(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def inwards() -> None:
            while data := await call.receive():
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        async def outwards() -> None:
            while data := await reader.read(CHUNK):
                while len(self.outbox) >= WINDOW:  # so that what is more urgent need not wait behind all the tunnels
                    self.sent.clear()
                    await self.sent.wait()
                await call.send(DATA, data)
            self.frame(END, call.stream, b"")

        try:
            await asyncio.gather(inwards(), outwards())
        except OSError:  # either end went away: so does the tunnel
            pass
        finally:
            writer.close()

    # children

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if command := self.world.children.pop(pid, None):
                command.reaped()
                if os.WIFSIGNALED(status):  # somebody killed a supervisor: what it watched has come to us
                    self.kill_strays()

    def kill_strays(self) -> None:
        found = descendants(os.getpid())  # first, because supervisors go on forking
        known = {pid for child in self.world.children for pid in (child, *descendants(child))}
        for pid in found:
            if pid not in known:
                send_signal(pid, signal.SIGKILL)

    async def end(self) -> None:
        """Nothing outlives the runner."""
        for command in tuple(self.world.children.values()):
            await command.kill()


def main() -> None:
    os.dup2(os.open("/dev/null", os.O_RDWR), 9)
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    with contextlib.suppress(OSError):  # it may be a socket
        fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    loop = asyncio.new_event_loop()
    runner = Runner(loop)
    loop.add_signal_handler(signal.SIGCHLD, runner.reap)
    loop.add_reader(0, runner.readable)
    runner.answer(DONE, 0, {"runner": 1})
    loop.run_forever()
    loop.run_until_complete(runner.end())
