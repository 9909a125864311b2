"""Where the user's lines come from: a terminal, with editing, history and completion, or a pipe.

Ctrl-C stops what is going on and nothing else; what that is, is said where it is started.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dockwright.redaction import Redaction

_T = TypeVar("_T")


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


class Keyboard(Protocol):
    """`message` and `command` raise EOFError where there are no more lines and Interrupted at Ctrl-C."""

    interactive: bool

    async def message(self) -> str:
        """The next message or slash command, which may be of several lines."""

    async def command(self, prompt: str) -> str:
        """The next line for a shell."""

    async def agrees(self, question: str) -> bool: ...


class Terminal:
    interactive = True

    def __init__(self, history: Path, words: Sequence[str], redaction: Redaction) -> None:
        """`history` is a file, made readable by its owner alone; `words` are completed at the start of a line."""
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory
        from prompt_toolkit.key_binding import KeyBindings

        class RedactedHistory(FileHistory):
            def store_string(self, string: str) -> None:
                super().store_string(redaction.text(string))

        os.close(os.open(history, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        keys = KeyBindings()
        keys.add("escape", "enter")(lambda event: event.current_buffer.insert_text("\n"))
        completer = WordCompleter(list(words), sentence=True)
        self._messages: PromptSession[str] = PromptSession(
            history=RedactedHistory(str(history)), completer=completer, key_bindings=keys, reserve_space_for_menu=4
        )
        self._others: PromptSession[str] = PromptSession()

    async def message(self) -> str:
        return await _prompted(self._messages, "> ")

    async def command(self, prompt: str) -> str:
        return await _prompted(self._others, prompt)

    async def agrees(self, question: str) -> bool:
        with suppress(EOFError, Interrupted):
            return (await _prompted(self._others, f"{question} [y/N] ")).strip().lower() in ("y", "yes")
        return False


async def _prompted(session: Any, prompt: str) -> str:
    """Ctrl-C empties a line that holds something, and asks again."""
    from prompt_toolkit.patch_stdout import patch_stdout

    while True:
        with patch_stdout(raw=True):
            try:
                return str(await session.prompt_async(prompt, handle_sigint=False))
            except KeyboardInterrupt:
                if not session.default_buffer.text:
                    raise Interrupted from None


class Pipe:
    """Standard input, line by line. A thread reads it, because it may be a file, which is never "ready"."""

    interactive = False

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, daemon=True).start()

    async def message(self) -> str:
        return await self.command("")

    async def command(self, prompt: str) -> str:
        line = await stoppable(self._lines.get())
        if line is None:
            self._lines.put_nowait(None)
            raise EOFError
        return line

    async def agrees(self, question: str) -> bool:
        return False

    def _read(self) -> None:
        with suppress(OSError, RuntimeError):  # a terminal that went away; a loop that has ended
            rest = b""
            while data := os.read(0, 1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
            if rest:
                self._take(rest)
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._lines.put_nowait, None)

    def _take(self, line: bytes) -> None:
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line.decode("utf-8", "replace").removesuffix("\r"))


async def stoppable(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, which Ctrl-C cancels, once: its end takes a moment. Raises Interrupted when it did."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    loop.add_signal_handler(signal.SIGINT, lambda: task.cancelling() or task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        around = asyncio.current_task()
        if around is None or around.cancelling():
            raise
        raise Interrupted from None
    finally:
        loop.add_signal_handler(signal.SIGINT, lambda: None)
