"""Events as JSON lines for programs: what the journal holds, and the live events between.

Each is one line of ASCII and strict JSON; a text longer than `LONGEST` characters is cut, and says so.
"""

from __future__ import annotations

from typing import TextIO

from dockwright.events import Event, to_line

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
            self._stream.write((line if len(line) <= LONGEST else to_line(_cut(event))).decode("ascii"))
            self._stream.flush()
        except OSError:
            self._stream = None


def _cut(event: Event) -> Event:
    return event.model_copy(update={name: _shorter(getattr(event, name)) for name in type(event).model_fields})


def _shorter(value: object) -> object:
    match value:
        case str() if len(value) > LONGEST:
            return f"{value[:LONGEST]}[{len(value) - LONGEST} more characters]"
        case dict():
            return {_shorter(key): _shorter(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_shorter(item) for item in value)
    return value
