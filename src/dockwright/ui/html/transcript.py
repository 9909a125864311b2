"""The long parts of the page: what was planned, what was said and done, and the change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dockwright.events import Answered, Event, JsonObject, Prompted, ToolFinished, ToolStarted
from dockwright.ui.calls import asked, outcome
from dockwright.ui.safe_html import text

_LONGEST_OUTPUT, _LONGEST_PATCH = 8_000, 2 << 20  # characters


def fold(head: str, body: str) -> str:
    return f"<details><summary>{head}</summary>{body}</details>"


def pre(words: str, most: int = _LONGEST_OUTPUT) -> str:
    """The beginning and the end of what may be long."""
    if len(words) > most:
        words = f"{words[: most // 2]}\n… {len(words) - most} characters …\n{words[-most // 2 :]}"
    return f"<pre>{text(words)}</pre>"


def plan(events: Iterable[Event]) -> Iterator[str]:
    """What the agent said first, before it did anything."""
    for event in events:
        if isinstance(event, Answered) and (words := _words(event.content)):
            yield f'<p class="words">{text(words)}</p>'
            return


def transcript(events: Iterable[Event]) -> Iterator[str]:
    calls: dict[str, ToolStarted] = {}
    for event in events:
        match event:
            case Prompted(source="harness", content=content):
                yield fold("<small>dockwright said</small>", pre(_words(content)))
            case Answered(turn=turn, content=content):
                yield f'<h4>Turn {turn}</h4><p class="words">{text(_words(content))}</p>'
            case ToolStarted():
                calls[event.id] = event
            case ToolFinished():
                given = calls[event.id].input if event.id in calls else {}
                yield _call(event, given)


def _call(event: ToolFinished, given: JsonObject) -> str:
    mark = "bad" if event.is_error else "so"
    said = event.content if isinstance(event.content, str) else _words(event.content)
    ended = f'<span class="badge {mark}">{text(outcome(event).plain)}</span>'
    head = f"<code>{text(asked(event.name, given).plain)}</code> {ended}"
    command = given.get("command")
    body = pre(str(command)) if isinstance(command, str) and "\n" in command else ""
    change = event.details.get("diff")
    return fold(head, body + (_coloured(change) if isinstance(change, str) and change else pre(said)))


def diff(patch: str) -> Iterator[str]:
    """A fold for each file."""
    cut = patch[:_LONGEST_PATCH]
    for part in cut.split("\ndiff --git ") if cut else ():
        name = part.removeprefix("diff --git ").split("\n", 1)[0].rpartition(" b/")[2]
        lines = part.split("\n")
        plus = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
        minus = sum(line.startswith("-") and not line.startswith("---") for line in lines)
        yield fold(f"<code>{text(name)}</code> <small>+{plus} -{minus}</small>", _coloured(part))
    if len(patch) > len(cut):
        yield "<p>The rest of the change is in the patch file.</p>"


def _coloured(change: str) -> str:
    kinds = {"+": "add", "-": "del", "@": "at"}
    lines = (f'<span class="{kinds.get(line[:1], "")}">{text(line)}</span>' for line in change.split("\n"))
    return f'<pre class="diff">{"".join(lines)}</pre>'


def _words(content: Iterable[JsonObject]) -> str:
    return "\n".join(said for block in content if isinstance(said := block.get("text"), str)).strip()
