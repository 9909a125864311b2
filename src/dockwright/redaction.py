"""The one place where secrets are taken out of what is written, shown or sent: each becomes its name in brackets.

A secret is recognised as it is, and in the forms it takes on the way: escaped for JSON, URLs or HTML, in hexadecimal,
in base64 at any offset. Lines of a long secret (a private key) count one by one.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus

from dockwright.errors import ConfigError
from dockwright.events import Answered, AnswerStarted, Event, TextDelta, ToolFinished, ToolOutput
from dockwright.strings import with_strings

SHORTEST = 6
_SHORTEST_LINE = 16


class Redaction:
    """Knows secrets by name, and shows none of them itself."""

    def __init__(self, secrets: Mapping[str, str] | None = None) -> None:
        self._names: dict[str, str] = {}
        for name, secret in (secrets or {}).items():
            if len(secret.strip()) < SHORTEST:
                raise ConfigError(
                    f"The secret {name} is shorter than {SHORTEST} characters: ordinary text would be taken for it. "
                    "Leave it out, or make it longer."
                )
            self._names |= dict.fromkeys(_forms(secret), name)
        longest_first = sorted(self._names, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._longest = len(longest_first[0]) if longest_first else 0

    def __bool__(self) -> bool:
        return bool(self._names)

    def __repr__(self) -> str:
        return f"Redaction({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._names.values()))

    def text(self, text: str) -> str:
        return self._found.sub(lambda match: f"[{self._names[match[0]]}]", text) if self._is_in(text) else text

    def names_in(self, data: bytes) -> set[str]:
        """The names of the secrets that are in a file."""
        return {name for form, name in self._names.items() if form.encode("utf-8", "surrogateescape") in data}

    def event(self, event: Event) -> Event:
        """The event without secrets; the same object where it holds none."""
        redacted: Event = with_strings(event, self.text)
        return event if redacted == event else redacted

    def split(self, text: str) -> tuple[str, str]:
        """Text of which more will come: what can be shown, and its raw end where that may be the beginning of a
        secret."""
        starts = range(max(len(text) - self._longest + 1, 0), len(text))
        cut = next((at for at in starts if any(form.startswith(text[at:]) for form in self._names)), len(text))
        cut = min([cut, *(match.start() for match in self._found.finditer(text) if match.end() > cut)])
        return self.text(text[:cut]), text[cut:]

    def _is_in(self, text: str) -> bool:
        """Much faster than the pattern, which is needed only where there is something."""
        return any(form in text for form in self._names)


class LiveRedaction:
    """Redacts events that come one by one, live text included: a secret may come in pieces."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction
        self._held: dict[str, TextDelta | ToolOutput] = {}

    def __call__(self, event: Event) -> Iterator[Event]:
        """The events to pass on in place of this one."""
        if not self._redaction:
            yield event
            return
        match event:
            case TextDelta() | ToolOutput():
                stream = event.kind if isinstance(event, TextDelta) else event.id
                before = self._held.pop(stream).text if stream in self._held else ""
                now, later = self._redaction.split(before + event.text)
                if later:
                    self._held[stream] = event.model_copy(update={"text": later})
                if now:
                    yield event.model_copy(update={"text": now})
                return
            case ToolFinished():
                ended = [event.id]
            case Answered() | AnswerStarted():
                ended = ["text", "thinking"]
            case _:
                ended = []
        for stream in ended:
            if stream in self._held:
                yield self._redaction.event(self._held.pop(stream))
        yield self._redaction.event(event)


def _forms(secret: str) -> Iterator[str]:
    lines = [line.strip() for line in secret.splitlines()]
    for part in dict.fromkeys([secret.strip(), *(line for line in lines if len(line) >= _SHORTEST_LINE)]):
        data = part.encode("utf-8", "surrogateescape")
        yield part
        yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
        for url in (quote(part, safe=""), quote(part), quote_plus(part)):
            yield from (url, re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), url))
        yield from (html.escape(part), data.hex(), data.hex().upper())
        yield from _base64(data)


def _base64(data: bytes) -> Iterator[str]:
    """What stays the same of the encoding, whatever stands before and after."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data)
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        whole = encoded[first:last].decode()
        yield from (whole, whole.translate(str.maketrans("+/", "-_")))
