"""Events as JSON lines for programs: what the journal holds, and the live events between."""

from __future__ import annotations

from typing import TextIO

from dockwright.events import Event, to_line


class JsonLinesSink:
    """Writes an event as one line of ASCII JSON. When its reader goes away it falls silent and the run goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream

    def __call__(self, event: Event) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(to_line(event).decode("ascii"))
            self._stream.flush()
        except OSError:
            self._stream = None
