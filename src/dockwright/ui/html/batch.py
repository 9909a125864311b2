"""Many runs on one page: a table that can be filtered without a script, each line of it open to what the run left.

The page is written piece by piece, and each part of a run is bounded, so that hundreds of them can be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from dockwright.events import Usage
from dockwright.journal import JournalError, read
from dockwright.result import RunResult
from dockwright.ui.follow import Entry, State
from dockwright.ui.html import about, asset, badge, checks, kind, page, patch_of, report, says, section
from dockwright.ui.html.transcript import bounded, diff, short, transcript
from dockwright.ui.safe_html import text
from dockwright.ui.words import amount, count, duration, money, status_words

_ORDER: tuple[State, ...] = (
    "running", "bug", "config_error", "sandbox_lost", "model_error", "limit", "refused", "checks_failed", "unverified",
    "interrupted", "done", "verified", "not begun",
)  # fmt: skip
_COLUMNS = ("Task", "Status", "Checks", "Turns", "Cost", "Time", "Tokens in / out", "Tags")
_TAGS = 12  # that can be filtered by
# Characters of HTML for a task.
_MOST_SMALL, _MOST_OF_CHANGE, _MOST_OF_TRANSCRIPT = 16_000, 24_000, 32_000


def pages(name: str, entries: Sequence[Entry]) -> Iterator[str]:
    """The page of a batch, in pieces. What needs a look stands first, what is alike in the order given."""
    entries = sorted(entries, key=lambda entry: _ORDER.index(entry.state))
    tags = [tag for tag, _ in Counter(tag for entry in entries for tag in entry.tags).most_common(_TAGS)]
    return page(f"batch {name}", _parts(name, entries, tags), asset("table.css") + _rules(len(tags)))


def _parts(name: str, entries: Sequence[Entry], tags: Sequence[str]) -> Iterator[str]:
    yield f"<header>{heading(name, entries)}{totals(entries)}</header>{_filters(entries, tags)}"
    yield from table(piece for entry in entries for piece in _task(entry, tags))


def _task(entry: Entry, tags: Sequence[str]) -> Iterator[str]:
    shown = "".join(f" t{number}" for number, tag in enumerate(tags) if tag in entry.tags)
    yield f'<tbody class="task s{_ORDER.index(entry.state)}{shown}">'
    yield row(entry, f'<details class="toggle"><summary>{text(entry.name)}</summary></details>')
    yield f'<tr class="more"><td colspan="{len(_COLUMNS)}">'
    yield from _body(entry)
    yield "</td></tr></tbody>"


def _rules(tags: int) -> str:
    """A line is shown that has the chosen status and the chosen tag."""
    names = [f"s{number}" for number in range(len(_ORDER))] + [f"t{number}" for number in range(tags)]
    return "".join(f"main:has(#{name}:checked) .task:not(.{name}){{display:none}}" for name in names)


def _filters(entries: Sequence[Entry], tags: Sequence[str]) -> str:
    states = Counter(entry.state for entry in entries)
    numbers = Counter(tag for entry in entries for tag in entry.tags)
    by_state = "".join(
        _choice("state", f"s{number}", status_words(state), states[state], kind(state))
        for number, state in enumerate(_ORDER)
        if states[state]
    )
    by_tag = "".join(_choice("tag", f"t{number}", tag, numbers[tag]) for number, tag in enumerate(tags))
    more = f'<span class="dim">and {len(numbers) - len(tags)} more</span>' if len(numbers) > len(tags) else ""
    choices = _choices("Status", "state", len(entries), by_state)
    return choices + (_choices("Tag", "tag", len(entries), by_tag + more) if tags else "")


def _choices(legend: str, group: str, all_: int, more: str) -> str:
    any_ = _choice(group, f"{group}-any", "all", all_, checked=True)
    return f"<fieldset><legend>{legend}</legend>{any_}{more}</fieldset>"


def _choice(group: str, id_: str, word: str, number: int, colour: str = "", *, checked: bool = False) -> str:
    dot = f'<i class="{colour}"></i>' if colour else ""
    return (
        f'<label><input type="radio" name="{group}" id="{id_}"{" checked" if checked else ""}>'
        f"<span>{dot}{text(word)} <b>{number}</b></span></label>"
    )


def table(bodies: Iterable[str]) -> Iterator[str]:
    heads = "".join(f'<th scope="col" class="c{number}">{name}</th>' for number, name in enumerate(_COLUMNS))
    yield f"<table><thead><tr>{heads}</tr></thead>"
    yield from bodies
    yield "</table>"


def row(entry: Entry, name: str) -> str:
    """A line of the table. `name` is what its first cell holds, as HTML."""
    result = entry.result
    passed = sum(check.exit_code == 0 for check in result.checks)
    begun = entry.state == "running" or result.turns > 0
    cells = (
        badge(entry.state),
        f"{passed} of {len(result.checks)}" if result.checks else "",
        str(result.turns) if begun else "",
        ("unknown" if result.cost is None else money(result.cost)) if begun else "",
        duration(result.seconds) if begun else "",
        f"{amount(result.usage.read)} / {amount(result.usage.output_tokens)}" if begun else "",
        _tags(entry),
    )
    shown = "".join(f'<td class="c{number}">{cell}</td>' for number, cell in enumerate(cells, start=1))
    return f'<tr><th scope="row" class="c0">{name}</th>{shown}</tr>'


def _tags(entry: Entry) -> str:
    return "".join(f'<span class="tag">{text(tag)}</span>' for tag in entry.tags)


def heading(name: str, entries: Sequence[Entry]) -> str:
    where = f" <small>{text(str(entries[0].folder.parent))}</small>" if entries else ""
    return f"<h1>{text(name)}{where}</h1>"


def totals(entries: Sequence[Entry], *, worded: bool = False) -> str:
    """How many ended how, as a bar and, if there is no choice of them, in words, and what they took together."""
    states = Counter(entry.state for entry in entries)
    found = [(state, states[state]) for state in _ORDER if states[state]]
    words = ", ".join(f"{number} {status_words(state)}" for state, number in found)
    bar = "".join(f'<i class="{kind(state)}" style="flex:{number}"></i>' for state, number in found)
    results = [entry.result for entry in entries]
    usage = sum((result.usage for result in results), Usage())
    cached = f" ({100 * usage.cache_read_input_tokens // usage.read} % cached)" if usage.read else ""
    facts = (
        count(len(entries), "task") + (f": {words}" if worded and words else ""),
        _cost(results),
        count(sum(result.turns for result in results), "turn"),
        _time(results),
        f"{amount(usage.read)} tokens in{cached}",
        f"{amount(usage.output_tokens)} out",
    )
    seen = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return (
        f'<div class="bar" role="img" aria-label="{words}" title="{words}">{bar}</div>'
        f'<p class="tally">{" · ".join(facts)} · as of {seen}</p>'
    )


def _cost(results: Sequence[RunResult]) -> str:
    unknown = sum(result.cost is None for result in results)
    return money(sum(result.cost or 0.0 for result in results)) + (f" and {unknown} unknown" if unknown else "")


def _time(results: Sequence[RunResult]) -> str:
    spans = [(begun, begun + timedelta(seconds=result.seconds)) for result in results if (begun := result.started)]
    if not spans:
        return "no time"
    took = max(end for _, end in spans) - min(begun for begun, _ in spans)
    return f"{duration(sum(result.seconds for result in results))} of work in {duration(took.total_seconds())}"


def _body(entry: Entry) -> Iterator[str]:
    result = entry.result
    yield f"<p>{text(says(entry.state))}</p>"
    if entry.state == "not begun":
        return
    yield f"{about(result.model_copy(update={'task': short(result.task)}))}<p>{_tags(entry)}</p>"
    page_of_it = entry.folder / "report.html"
    whole = str(page_of_it if page_of_it.exists() else entry.journal)
    if entry.state != "running" or result.checks:
        yield section("Checks", bounded(checks(result), _MOST_SMALL, whole))
    if entry.state != "running":
        yield section("Report", bounded(report(result), _MOST_SMALL, whole))
    yield section("Change", diff(patch_of(entry.folder, _MOST_OF_CHANGE), _MOST_OF_CHANGE))
    yield "<section><h2>Transcript</h2>"
    try:
        yield from bounded(transcript(read(entry.journal), {}), _MOST_OF_TRANSCRIPT, whole)
    except (OSError, JournalError) as error:
        yield f"<p>The journal cannot be read: {text(str(error))}</p>"
    yield "</section>"
