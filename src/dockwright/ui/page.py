"""Where things stand on a terminal: our own words at the left edge, everything from elsewhere behind a gutter.

Whatever is put on a page is sanitised by it. Nothing that came from the model, the sandbox or the repository reaches
the left edge, however it is padded, because each line is wrapped or cut here and not by the terminal. What is printed
is plain scrollback: it can be selected and searched, and it stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from dockwright.ui.visible import clip, visible

_GUTTER = "│ "
_MARGIN, _NARROW_MARGIN = 10, 2
_NARROW = 60
_WIDEST = 110
_FEWEST = 16
_TAB = 4


class Page:
    """`label` goes to the left of the next line that has no label of its own; a narrow page has no room for it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.label = ""
        self._at_gap = True

    @property
    def width(self) -> int:
        return min(self._console.width, _WIDEST)

    @property
    def margin(self) -> int:
        return _MARGIN if self.width >= _NARROW else _NARROW_MARGIN

    @property
    def room(self) -> int:
        """The cells of a line behind the gutter."""
        return max(self.width - self.margin - len(_GUTTER), 8)

    def gap(self) -> None:
        """Air before something new: one blank line, never two and never the first."""
        if not self._at_gap:
            self._print(Text())

    def section(self, label: str, *facts: Text | str) -> None:
        """Facts that begin something new."""
        self.label = ""
        self.gap()
        self.facts(label, *facts)

    def facts(self, label: str, *facts: Text | str) -> None:
        """A line of our own: the facts side by side, on more lines where they do not fit on one."""
        first = max(self.margin, len(label) + 1)
        for number, line in enumerate(_packed(self._console, facts, self.width - first)):
            self._print(Text.assemble((label.ljust(first) if number == 0 else " " * self.margin, "dim"), line))

    def copyable(self, label: str, text: str) -> None:
        """A line of our own that is neither wrapped nor cut, so that it can be copied whole."""
        self._print(Text.assemble((label.ljust(max(self.margin, len(label) + 1)), "dim"), _safe(text, newlines=False)))

    def row(self, left: Text, right: Text, last: Text | None = None, *, whole: bool = False) -> None:
        """What was done, the last words it left room for, and at the right edge what came of it. What is to be read
        `whole` goes on more lines where it does not fit on one."""
        room = max(self.width - self.margin - right.cell_len - 2, 8)
        left, last = _safe(left, newlines=False), _safe(last or Text(), newlines=False)
        if whole:
            *above, left = left.wrap(self._console, room) or [left]
            for line in above:
                self._print(Text.assemble(self._head(), line))
        kept = max(room - last.cell_len, room * 2 // 5)
        if room - min(left.cell_len, kept) < _FEWEST:  # a word or two would say nothing
            kept, last = room, Text()
        left.truncate(kept, overflow="ellipsis")
        line = Text.assemble(left, last)
        line.truncate(room, overflow="ellipsis", pad=right.cell_len > 0)
        self._print(Text.assemble(self._head(), line, "  " if right else "", right))

    def quote(self, text: str, style: str = "") -> None:
        """Text from elsewhere, wrapped behind the gutter."""
        for line in self.wrapped(text):
            self.quoted_line(line, style)

    def excerpt(self, lines: Sequence[tuple[str, str]]) -> None:
        """Lines from elsewhere with their styles, each cut to one line behind the gutter."""
        for line, style in lines:
            self.quoted_line(clip(visible(line[: 4 * self.room].expandtabs(_TAB), newlines=False), self.room), style)

    def quoted_line(self, line: str, style: str = "", gutter: str = _GUTTER) -> None:
        """One line that is sanitised already and fits behind the gutter."""
        self._print(Text.assemble(self._head(), (gutter, "dim"), (line, style)))

    def wrapped(self, text: str) -> list[str]:
        """The sanitised lines of a text as they fit behind the gutter."""
        return [line.plain for line in Text(visible(text)).wrap(self._console, self.room, tab_size=_TAB)]

    def _head(self) -> tuple[str, str]:
        label, self.label = self.label, ""
        return label.ljust(_MARGIN)[:_MARGIN] if self.margin == _MARGIN else " " * self.margin, "dim"

    def _print(self, text: Text) -> None:
        text.rstrip()
        self._at_gap = not text
        self._console.print(text, soft_wrap=True, highlight=False)


def _packed(console: Console, facts: Sequence[Text | str], width: int) -> list[Text]:
    """Join facts by dots on as few lines as keep each fact whole; a fact that is too long alone is wrapped."""
    lines: list[Text] = []
    for fact in facts:
        wrapped = _safe(fact).wrap(console, max(width, 8), tab_size=_TAB)
        if lines and len(wrapped) == 1 and lines[-1].cell_len + 3 + wrapped[0].cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], (" · ", "dim"), wrapped[0])
        else:
            lines += wrapped
    return lines


def _safe(text: Text | str, *, newlines: bool = True) -> Text:
    """A sanitised copy; one that had to be changed keeps only its main style."""
    given = Text.assemble(text)
    plain = visible(given.plain, newlines=newlines)
    return given if plain == given.plain else Text(plain, text.style if isinstance(text, Text) else "")
