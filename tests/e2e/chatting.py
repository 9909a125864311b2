"""A chat as its user has it: the installed program, in a pipe or on a terminal, against an API on loopback."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import sys
import termios
import uuid
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.repositories import git, new_repository

from dockwright.events import Event
from dockwright.journal import read
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

PROGRAM = Path(sys.executable).parent / "dockwright"
PERSONA = "---\nname: tester\ndescription: does what it is told\n---\nDo what you are told.\n"
FILES = {"src/app.py": b"print('shop')\n", "README": b"shop\n", ".gitignore": b"*.log\n"}
PROMPT = "\n>"
SECONDS = 90
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|[\r\b]")


@dataclass(frozen=True)
class Place:
    """A home of its own and a small repository in it."""

    home: Path

    @classmethod
    def make(cls, home: Path) -> Place:
        (home / "tester.md").write_text(PERSONA)
        new_repository(home / "shop", FILES)
        return cls(home)

    @property
    def repo(self) -> Path:
        return self.home / "shop"

    def git(self, *arguments: str) -> str:
        return git(self.repo, *arguments)

    def delivered(self, path: str) -> str:
        """A file as it came back."""
        return self.git("show", f"dockwright/{self.run.name}:{path}")

    @property
    def run(self) -> Path:
        (folder,) = self.runs
        return folder

    @property
    def runs(self) -> list[Path]:
        return list((self.home / "state/dockwright/runs").iterdir())

    @property
    def events(self) -> list[Event]:
        return list(read(self.run / "journal.jsonl"))

    def command(self, backend: str) -> list[str]:
        flags = ["--sandbox", backend, "--net", "none"]
        return [str(PROGRAM), "chat", "-C", str(self.repo), "-a", str(self.home / "tester.md"), *flags]

    def environment(self, api: ScriptedApi, **more: str) -> Mapping[str, str]:
        usual = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        folders = {f"XDG_{kind.upper()}_HOME": str(self.home / kind) for kind in ("state", "config", "cache")}
        model = {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "k"}
        return {**usual, **folders, **model, "HOME": str(self.home), "LANG": "C.UTF-8", **more}


class InPipe:
    """A chat that reads lines. `said` is all that it printed so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.said = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, place: Place, api: ScriptedApi, backend: str) -> AsyncIterator[InPipe]:
        env = place.environment(api, COLUMNS="110")
        process = await asyncio.create_subprocess_exec(
            *place.command(backend), stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=env
        )
        try:
            async with asyncio.timeout(SECONDS):
                yield cls(process)
        finally:
            await _ended(process)

    def say(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines).encode())

    async def see(self, words: str) -> None:
        """Read until these words were printed."""
        assert self.process.stdout is not None
        while words not in self.said:
            part = await self.process.stdout.read(1 << 16)
            assert part, f"it ended after: {self.said}"
            self.said += part.decode()

    async def end(self, *lines: str) -> int:
        """Say the last lines and close the pipe; the exit code."""
        data = "".join(f"{line}\n" for line in lines).encode()
        self.said += (await self.process.communicate(data))[0].decode()
        return await self.process.wait()


async def in_a_pipe(place: Place, api: ScriptedApi, backend: str, *lines: str) -> tuple[str, int]:
    """What a chat prints for these lines, and its exit code."""
    async with InPipe.open(place, api, backend) as chat:
        code = await chat.end(*lines)
        return chat.said, code


class OnTerminal:
    """A chat on a terminal of its own. `everything` is what it wrote, `raw` since the last `see`, `screen` as text."""

    def __init__(self, process: Process, master: int) -> None:
        self.process = process
        self.raw = self.everything = ""
        self._master = master
        self._news = asyncio.Event()
        asyncio.get_running_loop().add_reader(master, self._take)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, place: Place, api: ScriptedApi, backend: str, *, columns: int = 100, **environment: str
    ) -> AsyncIterator[OnTerminal]:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        env = place.environment(api, **{"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **environment})
        process = await asyncio.create_subprocess_exec(
            "setsid", "--ctty", *place.command(backend), stdin=slave, stdout=slave, stderr=slave, env=env
        )
        os.close(slave)
        terminal = cls(process, master)
        try:
            async with asyncio.timeout(SECONDS):
                yield terminal
        finally:
            terminal.hang_up()
            await _ended(process)

    @property
    def screen(self) -> str:
        return _CONTROL.sub("", self.raw)

    def hang_up(self) -> None:
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
        self._master = -1

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def see(self, *words: str) -> str:
        """Wait until these words were shown, in this order; what was shown by then is returned and forgotten."""
        wrapped = (re.escape(part).replace("\\ ", r"\s+") for part in words)
        pattern = re.compile(".*?".join(wrapped), re.DOTALL)
        try:
            while not pattern.search(self.screen):
                self._news.clear()
                await self._news.wait()
        except asyncio.CancelledError:
            raise AssertionError(f"{words!r} was not shown, but:\n{self.screen}") from None
        shown, self.raw = self.screen, ""
        return shown

    def _take(self) -> None:
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # nobody has the other end any more
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        text = data.decode("utf-8", "replace")
        self.raw += text
        self.everything += text
        self._news.set()


async def _ended(process: Process) -> None:
    """Have it end and clean up after itself, whatever the test left it at."""
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(SECONDS):
        await process.wait()


def bash(command: str) -> Turn:
    return Turn([tool_use("Bash", {"command": command})])


def long_nap() -> str:
    """A command that nobody else on this machine runs."""
    return f"sleep 3600.{uuid.uuid4().int}"


def processes(words: str) -> list[str]:
    """The processes on this machine, those in sandboxes included, whose command line is just this."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
        except OSError:  # it has ended meanwhile
            continue
    return [line for line in found if line == words]


async def until_it_runs(words: str) -> None:
    while not processes(words):
        await asyncio.sleep(0.05)
