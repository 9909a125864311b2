"""Events as JSON lines for programs: what the journal holds, and the live events between.

Each is one line of ASCII and strict JSON; a text longer than `LONGEST` characters is cut, and says so.
"""

from __future__ import annotations

from typing import TextIO

from dockwright.events import Event, to_line
from dockwright.strings import with_strings

LONGEST = 1 << 20


class JsonLinesSink:
    """Writes an event as one line of ASCII JSON. When its reader goes away it falls silent and the run goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def __call__(self, event: Event) -> None:
        if self._stream is None:
            return
        try:
            line = to_line(event)
            if len(line) > LONGEST:
                line = to_line(with_strings(event, _shorter))
            self._stream.write(line.decode("ascii"))
            self._stream.flush()
        except OSError:
            self._stream = None


def _shorter(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}[{len(text) - LONGEST} more characters]"
