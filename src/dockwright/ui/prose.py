"""The model's own words on a page, line by line while they stream.

An answer comes twice: in pieces while it is written, and whole when it is journalled. A replay and a pipe know only
the whole. What was taken from the pieces is not printed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Literal

from dockwright.events import JsonObject
from dockwright.ui.page import Page
from dockwright.ui.visible import visible

_LOOKS = {"text": ("", "│ "), "thinking": ("dim italic", "┊ ")}  # style and gutter
Kind = Literal["text", "thinking"]


class Prose:
    """`kinds` are the kinds of text that are shown."""

    def __init__(self, page: Page, kinds: Set[Kind]) -> None:
        self._page = page
        self._kinds = kinds
        self._kind: Kind = "text"
        self._held = ""  # the line that is being written
        self._gap: int | None = None  # blank lines that wait for a line to follow; None before the first line
        self._taken: dict[Kind, int] = {}  # characters of this answer that were taken already

    def restart(self) -> None:
        """A new answer begins, or the same one once more."""
        self.flush()
        self._taken = {}

    def add(self, kind: Kind, text: str) -> None:
        if kind not in self._kinds:
            return
        if kind != self._kind:
            self.flush()
            self._kind = kind
        self._taken[kind] = self._taken.get(kind, 0) + len(text)
        self._held += text
        if "\n" in text:
            self._print_whole_lines()
        if len(self._held) > self._page.room:
            self._print_full_lines()

    def catch_up(self, content: Iterable[JsonObject]) -> None:
        """Print what the blocks of the answer hold beyond the pieces that came."""
        skip = dict(self._taken)
        for kind, text in _texts(content):
            taken = skip.get(kind, 0)
            skip[kind] = max(taken - len(text), 0)
            if text[taken:]:
                self.add(kind, text[taken:])
                self.flush()
        self.flush()

    def flush(self) -> None:
        """The block ends: print what is left of it."""
        if self._held:
            self._print(visible(self._held))
        self._held, self._gap = "", None

    def _print_whole_lines(self) -> None:
        whole, newline, self._held = self._held.rpartition("\n")
        for line in visible(whole + newline).split("\n")[:-1]:
            self._print(line)

    def _print_full_lines(self) -> None:
        *full, rest = self._page.wrapped(self._held)
        for line in full:
            self._print(line)
        if full:
            self._held = rest

    def _print(self, line: str) -> None:
        if not line.strip():
            self._gap = None if self._gap is None else self._gap + 1
            return
        if self._gap is None:
            self._page.gap()
        for _ in range(self._gap or 0):
            self._page.quoted_line("", *_LOOKS[self._kind])
        self._gap = 0
        for wrapped in self._page.wrapped(line):
            self._page.quoted_line(wrapped, *_LOOKS[self._kind])


def _texts(content: Iterable[JsonObject]) -> Iterable[tuple[Kind, str]]:
    for block in content:
        match block:
            case {"type": "text", "text": str(text)}:
                yield "text", text
            case {"type": "thinking", "thinking": str(text)}:
                yield "thinking", text
