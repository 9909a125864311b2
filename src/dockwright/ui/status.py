"""The one line at the bottom of a terminal that says what is going on. It leaves nothing behind.

Only a terminal that can move its cursor gets it. Whoever reads input from the user stops it first.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dockwright.result import RunResult
from dockwright.ui.visible import clip, visible
from dockwright.ui.words import amount, duration, money

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_A_SECOND = 8


class StatusLine:
    """`doing` and `output` may come from elsewhere; they are sanitised when shown."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._able = console.is_terminal and not console.is_dumb_terminal
        self._live: Live | None = None
        self._since = 0.0
        self._doing = ""
        self._output = ""
        self._result = RunResult()

    def show(self, doing: str, result: RunResult) -> None:
        """Say what is going on from now on; the time shown counts from when the line appeared."""
        self._doing, self._output, self._result = doing, "", result
        if self._live is None and self._able:
            self._since = time.monotonic()
            self._live = Live(
                console=self._console,
                get_renderable=lambda: self.text(time.monotonic() - self._since),
                refresh_per_second=_FRAMES_A_SECOND,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def add_output(self, text: str) -> None:
        """More output of what is going on; its last line is shown."""
        if last := text[-1000:].strip().rpartition("\n")[2].rpartition("\r")[2]:
            self._output = last

    def stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def text(self, seconds: float) -> Text:
        result = self._result
        usage = result.usage
        tokens = sum(usage.model_dump().values())
        facts = [clip(visible(self._doing, newlines=False), self._console.width // 2), duration(seconds)]
        if tokens:
            facts.append(f"{amount(tokens)} tokens")
        if result.cost:
            facts.append(money(result.cost))
        if self._output:
            facts.append(visible(self._output, newlines=False))
        frame = _FRAMES[int(seconds * _FRAMES_A_SECOND) % len(_FRAMES)]
        line = clip(" · ".join(facts), self._console.width - 3)
        return Text.assemble((frame, "cyan"), " ", (line, "dim"))
