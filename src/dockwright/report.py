"""What a persona hands back, as data: its Return Format becomes a tool, the call of that tool a typed result, and prose
and JSON come from that one result.

The words of the agent are quoted as such and can neither pass for ours nor break out of their place on the page.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from dockwright.errors import ToolError
from dockwright.events import CheckFinished, JsonObject
from dockwright.result import RunResult, meaning
from dockwright.tools.base import Tool, ToolContext, ToolResult
from dockwright.tools.output import quoted
from dockwright.ui.visible import visible
from dockwright.ui.words import amount, count, duration, money, status_words

_SHOWN_LINES, _SHOWN_COLUMNS = 40, 400  # of a check's output; report.json has all of it
_SHOWN_HOSTS = 50


@dataclass(frozen=True)
class Question:
    """One field of a section; `hint` says what it holds."""

    name: str
    hint: str = ""


@dataclass(frozen=True)
class Section:
    name: str
    fields: tuple[Question, ...]


@dataclass(frozen=True)
class ReturnFormat:
    """What a persona is asked to return, in its own names and order. No name is there twice in its place."""

    sections: tuple[Section, ...]


_ABOUT_FORMAT = re.compile(
    r"\b(return|output|response|report(ing)?|deliverables?)\b.*\b(format|structure|template)\b", re.IGNORECASE
)
_HEADING = re.compile(r"\s{0,3}(?:(#{1,6})\s+(.+?)[\s#]*|\*\*(.+?)\*\*:?|__(.+?)__:?)\s*")
_LEAD_IN = re.compile(r"[^\s|>].{,80}:\s*")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)")
_SECTION = re.compile(r"\s*(?:\d+[.)]\s+)?([^\W\d_a-z][^a-z:\[]+):\s*(\[.*)?")
_FIELD = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+([^:\[]{1,80}?)\s*(?::\s*(.*)|(\[.*))?")
_BELOW_ALL = 7  # how deep a heading in bold letters, or a sentence that ends in a colon, counts


def return_format(prompt: str) -> ReturnFormat | None:
    """The first fenced block with sections below a heading such as "Return Format"; None where there is none."""
    for block in _blocks_about_format(prompt.splitlines()):
        if sections := _sections(block):
            return ReturnFormat(sections)
    return None


def _blocks_about_format(lines: Iterable[str]) -> Iterator[list[str]]:
    fence, level, block = "", 0, list[str]()  # level: how deep the heading lies below which we look, 0 for none
    for line in lines:
        mark = _FENCE.fullmatch(line)
        if fence and mark and mark[1].startswith(fence) and not mark[2].strip():
            if level:
                yield block
            fence, block = "", []
        elif fence:
            block.append(line)
        elif mark:
            fence = mark[1]
        elif (heading := _HEADING.fullmatch(line)) or _LEAD_IN.fullmatch(line):
            depth = len(heading[1]) if heading and heading[1] else _BELOW_ALL
            if _ABOUT_FORMAT.search(line):
                level = depth
            elif heading and depth <= level:
                level = 0


def _sections(block: Iterable[str]) -> tuple[Section, ...]:
    found: dict[str, dict[str, list[str]]] = {}  # section, field, lines of its hint; "" is the section as a whole
    section, field = "", ""
    for line in block:
        plain = line.replace("**", "").strip()
        if heading := _HEADING.fullmatch(line):
            section, field = next(filter(None, heading.groups()[1:])).strip(" :*_"), ""
            found.setdefault(section, {"": []})
        elif match := _SECTION.fullmatch(plain):
            section, field = match[1].strip(), ""
            found.setdefault(section, {"": []})[""].append(match[2] or "")
        elif section and (match := _FIELD.fullmatch(plain)):
            field = match[1].strip(" `_*") or "?"
            found[section].setdefault(field, []).append(match[2] or match[3] or "")
        elif section and plain:
            found[section][field].append(plain)
    return tuple(_section(name, fields) for name, fields in found.items() if fields != {"": []})


def _section(name: str, fields: dict[str, list[str]]) -> Section:
    """A section without fields is asked for as a whole."""
    hints = {field: _hint(lines) for field, lines in fields.items()}
    about = hints.pop("")
    return Section(name, tuple(Question(*item) for item in hints.items()) or (Question(name, about),))


def _hint(lines: Iterable[str]) -> str:
    text = " ".join(" ".join(lines).split())
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


class Report(Tool):
    """What every SubmitReport has; the sections come with the persona."""

    model_config = ConfigDict(protected_namespaces=())
    format: ClassVar[ReturnFormat | None] = None
    summary: str = Field(min_length=1, description="What was done and what came of it, in two to five plain sentences.")

    async def run(self, ctx: ToolContext) -> ToolResult:
        return ToolResult("The report was taken. End with a sentence or two.", details={"report": self.named()})

    def named(self) -> JsonObject:
        """The summary and the sections in the persona's own names. Raises ToolError for what is no answer."""
        answers = self.model_dump()
        texts = _texts(answers, self.format)
        if faults := [f"- {where} {fault}" for where, text, hint in texts if (fault := _fault(text, hint))]:
            raise ToolError("\n".join(("The report was not taken. Correct these fields and submit it again:", *faults)))
        return {"summary": self.summary, "sections": _named(answers, self.format)}


class _Answers(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


_OFFER = """Hand in the report on your work. Call this once, at the very end, when the work is done and was run and
tested. Every field says what was done and why, and names files and commands; what does not apply says so with its
reason; what was not done is admitted. Empty fields and placeholders are refused."""


def report_tool(fmt: ReturnFormat | None) -> type[Report]:
    """The tool SubmitReport, with one object for each section and one required text for each field of it.

    Its result carries {"summary", "sections"} as `details["report"]`, in the persona's own names and order."""
    fields: dict[str, Any] = {
        "changes": (list[str], Field(description="Each change that was made: what, where and why. Empty if none was."))
    }
    if fmt is not None:
        keys = _keys([section.name for section in fmt.sections], taken={"summary"})
        fields = {key: (_answers(section), ...) for key, section in zip(keys, fmt.sections, strict=True)}
    model = create_model("SubmitReport", __base__=Report, __doc__=_OFFER, **fields)
    model.format = fmt
    return model


def _answers(section: Section) -> type[BaseModel]:
    keys = _keys([field.name for field in section.fields], taken=set())
    fields: dict[str, Any] = {
        key: (str, Field(description=field.hint or field.name)) for key, field in zip(keys, section.fields, strict=True)
    }
    return create_model("Answers", __base__=_Answers, __doc__=section.name, **fields)


def _keys(names: Iterable[str], taken: set[str]) -> list[str]:
    """Names as keys that the API takes and that no attribute of a tool has."""
    keys: list[str] = []
    for name in names:
        key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:60].strip("_") or "field"
        while key in {*dir(Report), *taken, *keys}:
            key += "_"
        keys.append(key)
    return keys


def _named(answers: Mapping[str, Any], fmt: ReturnFormat | None) -> dict[str, Any]:
    if fmt is None:
        changes = {str(number): text for number, text in enumerate(answers["changes"], start=1)}
        return {"CHANGES": changes} if changes else {}
    values = [value for key, value in answers.items() if key != "summary"]
    return {
        section.name: dict(zip((field.name for field in section.fields), value.values(), strict=True))
        for section, value in zip(fmt.sections, values, strict=True)
    }


def _texts(answers: Mapping[str, Any], fmt: ReturnFormat | None) -> Iterator[tuple[str, str, str]]:
    """Each text with the place it has in the call, and the hint it was asked for with."""
    yield "summary", answers["summary"], ""
    if fmt is None:
        yield from ((f"changes.{number}", text, "") for number, text in enumerate(answers["changes"]))
        return
    sections = [(key, value) for key, value in answers.items() if key != "summary"]
    for (key, values), section in zip(sections, fmt.sections, strict=True):
        for (name, text), field in zip(values.items(), section.fields, strict=True):
            yield f"{key}.{name}", text, field.hint


_FILLERS = frozenset(
    {"tbd", "tba", "todo", "to do", "fixme", "xxx", "wip", "placeholder", "this is a placeholder", "placeholder text",
     "to be determined", "to be decided", "to be defined", "to be done", "fill in", "fill this in", "lorem ipsum"}
)  # fmt: skip
_EXCUSES = frozenset(
    {"n/a", "na", "n.a", "none", "nil", "not applicable", "does not apply", "not needed", "not relevant"}
)
_MARKED = re.compile(r"\W*(TODO|TBD|FIXME|PLACEHOLDER)\s*([:(\]]|[-\u2013\u2014]\s)")


def _fault(text: str, hint: str) -> str:
    """Why this is no answer, as the end of a sentence; empty where it is one."""
    words = _words(text)
    if not words:
        return "is empty: say what was done, and in which files."
    if words in _FILLERS or _MARKED.match(text):
        return f"is a placeholder ({' '.join(text.split())[:60]}): say what was done, or why it was not."
    if words in _EXCUSES:
        return f"says only {' '.join(text.split())}: add the reason."
    if words == _words(hint):
        return "repeats the question: answer it."
    return ""


def _words(text: str) -> str:
    return " ".join(text.split()).casefold().strip(" .,:;!?*_`~\"'()[]{}<>-\u2013\u2014\u2026")


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
        (str(number), _code(check.command), _ending(check), duration(check.seconds))
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


def _ending(check: CheckFinished) -> str:
    return "stopped by its timeout" if check.exit_code is None else str(check.exit_code)


def _answers_of(result: RunResult) -> Iterator[str]:
    if not result.summary and not result.sections:
        yield "The agent handed in no report."
        return
    yield "What is quoted below are the agent's own words. They are claims; the checks above are the proof."
    yield _quote(result.summary)
    for section, fields in result.sections.items():
        yield f"### {_line(section)}"
        for field, text in fields.items():
            if field != section:
                yield f"**{_line(field)}**"
            yield _quote(text)


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
