"""The long parts of the page: what was planned, what was said and done, and the change."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, groupby

from dockwright.events import Answered, Event, JsonObject, Prompted, ToolFinished, ToolStarted, TurnStarted
from dockwright.ui.calls import asked, outcome
from dockwright.ui.safe_html import text
from dockwright.ui.words import count

LONGEST_PATCH, _LONGEST_OUTPUT = 2 << 20, 8_000  # characters


def fold(head: str, body: str) -> str:
    return f"<details><summary>{head}</summary>{body}</details>"


def pre(words: str) -> str:
    return f"<pre>{text(short(words))}</pre>"


def short(words: str, most: int = _LONGEST_OUTPUT) -> str:
    """The beginning and the end of what may be long."""
    if len(words) <= most:
        return words
    return f"{words[: most // 2]}\n… {len(words) - most} characters …\n{words[-most // 2 :]}"


def bounded(parts: Iterable[str], most: int, whole: str) -> Iterator[str]:
    """The first and the last of many parts, `most` characters at most, and how many are left out between them."""
    room, left_out = most // 2, 0
    last: deque[str] = deque()
    parts = iter(parts)
    for part in parts:
        if len(part) > room:
            parts = chain((part,), parts)
            break
        room -= len(part)
        yield part
    room = most // 2
    for part in parts:
        last.append(part)
        room -= len(part)
        while room < 0:
            room += len(last.popleft())
            left_out += 1
    if left_out:
        yield f'<p class="cut">{count(left_out, "part")} left out here; the whole is in <code>{text(whole)}</code>.</p>'
    yield from last


def plan(events: Iterable[Event]) -> Iterator[str]:
    """What the agent said first, before it did anything."""
    for event in events:
        if isinstance(event, Answered) and (words := _words(event.content)):
            yield f'<p class="words">{text(words)}</p>'
            return


def transcript(events: Iterable[Event], calls: dict[str, ToolStarted]) -> Iterator[str]:
    """What was said and done. `calls` keeps the open ones, for the events that follow on these."""
    for event in events:
        match event:
            case Prompted(source="harness", content=content):
                yield fold("<small>dockwright said</small>", pre(_words(content)))
            case Answered(turn=turn, content=content):
                yield f'<h3>Turn {turn}</h3><p class="words">{text(_words(content))}</p>'
            case TurnStarted():
                calls.clear()
            case ToolStarted():
                calls[event.id] = event
            case ToolFinished():
                started = calls.pop(event.id, None)
                yield _call(event, started.input if started else {})


def _call(event: ToolFinished, given: JsonObject) -> str:
    mark = "bad" if event.is_error else "so"
    said = event.content if isinstance(event.content, str) else _words(event.content)
    came = text(outcome(event).plain)
    ended = f' <span class="badge {mark}">{came}</span>' if came else ""
    head = f"<code>{text(asked(event.name, given).plain)}</code>{ended}"
    command = given.get("command")
    body = pre(str(command)) if isinstance(command, str) and "\n" in command else ""
    change = event.details.get("diff")
    return fold(head, body + (_coloured(change) if isinstance(change, str) and change else pre(said)))


def diff(patch: str, most: int = LONGEST_PATCH) -> Iterator[str]:
    """A fold for each file."""
    cut = patch[:most]
    for part in cut.split("\ndiff --git ") if cut else ():
        part = f"diff --git {part.removeprefix('diff --git ')}"
        lines = part.split("\n")
        name = lines[0].rpartition(" b/")[2]
        plus = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
        minus = sum(line.startswith("-") and not line.startswith("---") for line in lines)
        yield fold(f"<code>{text(name)}</code> <small>+{plus} -{minus}</small>", _coloured(part))
    if len(patch) > len(cut):
        yield "<p>The rest of the change is in the patch file.</p>"


def _coloured(change: str) -> str:
    kinds = {"+": ' class="add"', "-": ' class="del"', "@": ' class="at"'}
    alike = groupby(change.split("\n"), lambda line: kinds.get(line[:1], ""))
    blocks = (f"<span{kind}>{text(chr(10).join(lines))}</span>" for kind, lines in alike)
    return f'<pre class="diff">{"".join(blocks)}</pre>'


def _words(content: Iterable[JsonObject]) -> str:
    return "\n".join(said for block in content if isinstance(said := block.get("text"), str)).strip()
