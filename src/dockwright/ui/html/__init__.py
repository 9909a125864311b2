"""A run as one page that needs nothing but itself: no script, no request, what is long is folded.

Whatever came from the model, the sandbox or the repository passes `text`; the policy in the page would stop the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dockwright.claim import Claim, Evidence
from dockwright.events import CheckFinished, Event
from dockwright.journal import read
from dockwright.result import RunResult, meaning
from dockwright.ui.follow import State
from dockwright.ui.html.transcript import LONGEST_PATCH, diff, fold, plan, pre, transcript
from dockwright.ui.safe_html import CSP, text
from dockwright.ui.words import amount, count, duration, money, status_words

_KINDS = {
    **dict.fromkeys(("verified", "proven", "done"), "good"),
    **dict.fromkeys(
        ("refuted", "checks_failed", "bug", "sandbox_lost", "model_error", "config_error", "refused", "denied"), "bad"
    ),
    "running": "at",
    "not begun": "off",
}


def page_of(folder: Path, result: RunResult, state: State | None = None) -> str:
    """The page of the run in a folder; `state` where that is not how it ended."""
    journal = folder / "journal.jsonl"
    return render(
        result, read(journal) if journal.exists() else (), patch_of(folder, LONGEST_PATCH), state or result.status
    )


def patch_of(folder: Path, most: int) -> str:
    """What a run changed, at least its first `most` characters; "" where nothing was delivered."""
    try:
        with (folder / "changes.patch").open("rb") as file:
            return file.read(4 * most + 4).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def render(result: RunResult, events: Iterable[Event], patch: str, state: State) -> str:
    """The whole page. `patch` is the change as git tells it; empty where there is none."""
    events = tuple(events)
    parts = (
        f"<header><h1>{badge(state)} {text(says(state))}</h1>{about(result)}</header>",
        section("Plan", plan(events)),
        section("Checks", checks(result)),
        section("Report", report(result)),
        section("Change", diff(patch)),
        section("Transcript", transcript(events, {})),
        section("Network", _network(result)),
    )
    return "".join(page(f"{result.run}: {status_words(state)}", parts))


def asset(name: str) -> str:
    """A style or script of ours, to stand in a page."""
    return Path(__file__).with_name(name).read_text("utf-8")


def page(title: str, parts: Iterable[str], style: str = "", policy: str = CSP) -> Iterator[str]:
    """A page with these parts in it; `style` is on top of that of all pages."""
    yield (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{text(policy)}">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="referrer" content="no-referrer">'
        f"<title>dockwright {text(title)}</title><style>{asset('page.css')}{style}</style></head><body><main>"
    )
    yield from parts
    yield "</main></body></html>\n"


def says(state: State) -> str:
    match state:
        case "running":
            return "At work. This is what was known when the page was made."
        case "not begun":
            return "Not begun."
        case status:
            return meaning(status)


def kind(word: str) -> str:
    """The colour of a status or a verdict."""
    return _KINDS.get(word, "so")


def badge(word: str) -> str:
    return f'<span class="badge {kind(word)}">{text(status_words(word))}</span>'


def section(title: str, parts: Iterable[str]) -> str:
    body = "".join(parts)
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def about(result: RunResult) -> str:
    """Why it ended so, what was asked, and the facts."""
    reason = f"<p>{text(result.reason)}</p>" if result.has_ended and result.reason else ""
    delivered = result.delivered
    size = f"{count(delivered.files, 'file')} +{delivered.insertions} -{delivered.deletions}" if delivered else ""
    facts = {
        "Run": result.run,
        "Started": f"{result.started:%Y-%m-%d %H:%M} UTC" if result.started else "",
        "Persona": result.agent,
        "Model": result.model,
        "Repository": f"{result.repo} at {result.base[:12]}" if result.base else result.repo,
        "Branch": f"{result.branch or 'none, only the patch'} ({size})" if size else "",
        "Spent": f"{money(result.cost)} · {count(result.turns, 'turn')} · {duration(result.seconds)} · "
        f"{amount(result.usage.read)} tokens in · {amount(result.usage.output_tokens)} out",
        "Tool calls": ", ".join(f"{name} {number}" for name, number in result.tool_calls.items()),
    }
    rows = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts.items() if value)
    task = f"<blockquote>{text(result.task)}</blockquote>" if result.task else ""
    return f"{reason}{task}<dl>{rows}</dl>"


def checks(result: RunResult) -> Iterator[str]:
    if not result.checks:
        yield "<p>No check was run, so nothing here is proven.</p>"
    else:
        yield "<p>Run by dockwright in a clean sandbox, from the base commit plus the patch.</p>"
    if result.changed_check_files:
        names = ", ".join(f"<code>{text(name)}</code>" for name in result.changed_check_files)
        yield f"<p>{badge('changed')} Check files changed by the agent: {names}. The checks were run again without.</p>"
    yield from (_check(check) for check in (*result.checks, *result.baseline))


def _check(check: CheckFinished) -> str:
    ended = "timed out" if check.exit_code is None else f"exit {check.exit_code}"
    mark = "good" if check.exit_code == 0 else "bad"
    on = "" if check.on == "patch" else f" <small>{text(check.on)}</small>"
    head = (
        f'<span class="badge {mark}">{ended}</span> <code>{text(check.command)}</code>{on} '
        f"<small>{duration(check.seconds)}</small>"
    )
    schema = f"<p>How the schema changed:</p>{pre(str(diff))}" if (diff := check.facts.get("schema_diff")) else ""
    return fold(head, pre(check.output or "no output") + schema)


def report(result: RunResult) -> Iterator[str]:
    if not result.summary and not result.sections:
        yield "<p>The agent handed in no report.</p>"
        return
    yield "<p>The agent's own words; each claim with what the harness itself saw of it.</p>"
    yield _field(result, "", "summary", result.summary)
    for section, fields in result.sections.items():
        yield f"<h3>{text(section)}</h3>"
        for field, words in fields.items():
            yield f"<h4>{text(field)}</h4>" if field != section else ""
            yield _field(result, section, field, words)


def _field(result: RunResult, section: str, field: str, words: str) -> str:
    claims = [claim for claim in result.claims if (claim.section, claim.field) == (section, field)]
    if not claims:
        return f'<p class="words">{text(words)}</p>'
    return "".join(_claim(claim) for claim in claims)


def _claim(claim: Claim) -> str:
    head = f'{badge(claim.verdict)} <span class="words">{text(claim.text)}</span>'
    why = f"<p>{text(claim.reason)}</p>" if claim.reason else ""
    if not claim.evidence:
        return f'<div class="claim">{head}{why if claim.verdict == "refuted" else ""}</div>'
    return fold(head, why + "".join(map(_evidence, claim.evidence)))


def _evidence(fact: Evidence) -> str:
    facts: Sequence[tuple[str, str]] = (
        ("id", fact.id),
        ("exit code", "" if fact.exit_code is None else str(fact.exit_code)),
        ("time", f"{fact.at:%Y-%m-%d %H:%M:%S} UTC" if fact.at else ""),
        ("took", "" if fact.seconds is None else duration(fact.seconds)),
        ("container", fact.container),
        ("whole output", fact.output_file or ""),
        ("sha256", fact.sha256 or ""),
    )
    rows = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts if value)
    output = pre(fact.output) if fact.output else ""
    return f'<div class="fact"><code>{text(fact.name)}</code><dl>{rows}</dl>{output}</div>'


def _network(result: RunResult) -> Iterator[str]:
    for asked in dict.fromkeys((asked.host, asked.port, asked.denied) for asked in result.network):
        host, port, denied = asked
        word = (
            f'<span class="badge bad">denied</span> {text(denied)}' if denied else '<span class="badge so">asked</span>'
        )
        yield f"<p><code>{text(host)}:{port}</code> {word}</p>"
