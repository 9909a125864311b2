"""The report for people, as Markdown. What the agent, its commands and its files say is quoted, never taken as ours: it
can neither pass for our words nor break out of its place on the page.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from dockwright.claim import Claim, Evidence
from dockwright.events import CheckFinished
from dockwright.result import RunResult, meaning
from dockwright.tools.output import quoted
from dockwright.ui.visible import visible
from dockwright.ui.words import amount, count, duration, money, status_words, verdicts

_SHOWN_LINES, _SHOWN_COLUMNS = 40, 400  # of a check's output; report.json has all of it
_SHOWN_HOSTS = 50


def render_json(result: RunResult) -> str:
    return result.model_dump_json(indent=2, ensure_ascii=True) + "\n"


def render_markdown(result: RunResult) -> str:
    """The report for people. What the agent, its commands and its files say is quoted, never taken as our own."""
    verdict = f"**{status_words(result.status).capitalize()}.** {meaning(result.status)}"
    parts = [
        f"# Report on run {_line(result.run)}",
        verdict + (f" Reason: {_line(result.reason)}" if result.reason else ""),
        "## Task",
        _quote(result.task),
        f"Persona {_code(result.agent)}, model {_code(result.model)}, repository {_code(result.repo)}"
        + (f" at {_code(result.base[:12])}." if result.base else "."),
        "## Checks",
        *_checks(result.checks),
        *_about_checks(result),
        "## What the agent reports",
        *_answers_of(result),
        "## Delivery",
        *_delivery(result),
        "## Cost and time",
        *_cost(result),
        *_remarks(result),
    ]
    return "\n\n".join(parts) + "\n"


def _checks(checks: Sequence[CheckFinished]) -> Iterator[str]:
    if not checks:
        yield "No check was run, so nothing here is proven."
        return
    yield "Run by dockwright in a clean sandbox, from the base commit plus the patch."
    rows = [
        (str(number), _code(check.command) + _on(check), _ending(check), duration(check.seconds))
        for number, check in enumerate(checks, start=1)
    ]
    yield _table(("", "Check", "Exit code", "Time"), rows)
    for number, check in enumerate(checks, start=1):
        if not check.output.strip():
            continue
        lines = visible(check.output).rstrip("\n").split("\n")
        cut = f", its last {_SHOWN_LINES} of {len(lines)} lines" if len(lines) > _SHOWN_LINES else ""
        yield f"Output of check {number}{cut}:"
        yield _fenced("\n".join(quoted(line, _SHOWN_COLUMNS) for line in lines[-_SHOWN_LINES:]))


def _on(check: CheckFinished) -> str:
    return "" if check.on == "patch" else " with the check files as they were"


def _about_checks(result: RunResult) -> Iterator[str]:
    if result.changed_check_files:
        names = ", ".join(map(_code, result.changed_check_files))
        yield f"Check files changed by the agent: {names}. The checks were run again with these files as they were."
    for check in result.baseline:
        yield f"Before the work, {_code(check.command)} ended like this: {_ending(check)}."
    for check in result.checks:
        if diff := check.facts.get("schema_diff"):
            yield "How the schema changed:"
            yield _fenced(visible(str(diff)))


def _ending(check: CheckFinished) -> str:
    return "stopped by its timeout" if check.exit_code is None else str(check.exit_code)


def _answers_of(result: RunResult) -> Iterator[str]:
    if not result.summary and not result.sections:
        yield "The agent handed in no report."
        return
    yield "What is quoted below are the agent's own words. They are claims; the checks above are the proof."
    if result.claims:
        claims = f"{count(len(result.claims), 'claim')}: {verdicts(result.claims)}"
        yield f"Held against what was run and handed over: {claims}."
    yield _quote(_field(result, "", "summary", result.summary))
    for section, fields in result.sections.items():
        yield f"### {_line(section)}"
        for field, text in fields.items():
            if field != section:
                yield f"**{_line(field)}**"
            yield _quote(_field(result, section, field, text))
            yield from (
                f"Refuted: {_line(claim.text)}: {_line(claim.reason)}."
                for claim in result.claims
                if (claim.section, claim.field, claim.verdict) == (section, field, "refuted")
            )
    if facts := {fact.id: fact for claim in result.claims for fact in claim.evidence}:
        yield "### Evidence"
        yield "\n".join(f"- {_code(fact.id)} {_fact(fact)}" for fact in facts.values())


def _field(result: RunResult, section: str, field: str, text: str) -> str:
    """The text of a field with a mark for what became of each claim in it."""
    claims = [claim for claim in result.claims if (claim.section, claim.field) == (section, field)]
    return " ".join(f"{claim.text} {_mark(claim)}" for claim in claims) if claims else text


def _mark(claim: Claim) -> str:
    return f"[{', '.join([fact.id for fact in claim.evidence] or [claim.verdict])}]"


def _fact(fact: Evidence) -> str:
    if fact.kind == "file":
        return f"a file that was handed over, sha256 {_code(fact.sha256 or '')}"
    ended = "in the background" if fact.exit_code is None else f"exit code {fact.exit_code}"
    when = f", {fact.at:%Y-%m-%d %H:%M:%S} UTC" if fact.at else ""
    took = f", {duration(fact.seconds)}" if fact.seconds is not None else ""
    return f"{_code(fact.name[:_SHOWN_COLUMNS])}: {ended}{took}{when}, in {_code(fact.container)}"


def _delivery(result: RunResult) -> Iterator[str]:
    delivered = result.delivered
    if delivered is None:
        yield "Nothing was delivered."
        return
    size = (
        f"{count(delivered.files, 'file')} changed, {delivered.insertions} lines added, {delivered.deletions} removed"
    )
    branch = f"Branch {_code(delivered.branch)}" if delivered.branch else "No branch: the repository could not take one"
    commit = f", commit {_code(delivered.commit)}" if delivered.commit else ""
    yield f"- {branch}{commit}\n- Patch {_code(delivered.patch)}\n- {size}"
    yield "To look at it, and to take it:"
    run = shlex.quote(result.run)
    lines = [f"dockwright diff {run}", f"dockwright apply {run}"]
    if delivered.branch and not result.carried:  # a merge would meet what was carried in and is still uncommitted
        lines.append(f"git -C {shlex.quote(result.repo)} merge {shlex.quote(delivered.branch)}")
    yield _fenced(visible("\n".join(lines)))
    if result.carried:
        carried = count(len(result.carried), "file")
        yield f"Uncommitted work of yours was carried in ({carried}) and is the first commit of the branch."


def _cost(result: RunResult) -> Iterator[str]:
    usage = result.usage
    cost = "unknown, as the model's price is" if result.cost is None else money(result.cost)
    tokens = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens, usage.output_tokens)
    yield _table(
        ("Turns", "Cost", "Time", "Input tokens", "read from cache", "written to cache", "Output tokens"),
        [(str(result.turns), cost, duration(result.seconds), *map(amount, tokens))],
    )
    if result.tool_calls:
        calls = ", ".join(f"{_line(name)} {number}" for name, number in result.tool_calls.items())
        yield f"Tool calls: {calls}. {count(result.tool_errors, 'call')} failed."


def _remarks(result: RunResult) -> Iterator[str]:
    if denied := [asked for asked in result.network if asked.denied is not None]:
        yield "## Denied by the network policy"
        rows = [
            (_code(f"{asked.host}:{asked.port}"), _line(asked.denied or ""), _code(asked.call) if asked.call else "")
            for asked in denied[:_SHOWN_HOSTS]
        ]
        yield _table(("Host", "Why", "Call"), rows)
        if len(denied) > _SHOWN_HOSTS:
            yield f"And {len(denied) - _SHOWN_HOSTS} more, which the journal has."
        yield f"`dockwright net learn {_line(result.run)}` prints an allow list of what was asked for."
    if result.left_out:
        yield "## Left out"
        yield "\n".join(f"- {_code(path)}" for path in result.left_out)
    if result.notes:
        yield "## Notes"
        yield "\n".join(f"- {note.level}: {_line(note.text)}" for note in result.notes)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _line(text: str) -> str:
    """Untrusted text inside a line of ours: one line, nothing of it markup."""
    plain = visible(text, newlines=False).strip().replace("&", "&amp;").replace("<", "&lt;") or "?"
    return re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", plain)


def _quote(text: str) -> str:
    """Untrusted prose, its own markup kept inside a quotation: no raw HTML, no images."""
    safe = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", visible(text)).replace("![", "!\\[")
    return "\n".join(f"> {line}".rstrip() for line in safe.strip("\n").split("\n"))


def _code(text: str) -> str:
    """Untrusted text as a code span that it cannot end."""
    plain = visible(text, newlines=False) or " "
    ticks = "`" * (_longest_run(plain) + 1)
    return f"{ticks} {plain} {ticks}" if "`" in (plain[0], plain[-1]) else f"{ticks}{plain}{ticks}"


def _fenced(text: str) -> str:
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}\n{text}\n{ticks}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
