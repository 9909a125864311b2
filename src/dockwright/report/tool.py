"""SubmitReport: a persona's Return Format as a tool, whose call is the report.

Evidence is named where the claim stands, in double brackets: `All 14 tests pass [[pytest -q]].` So a field stays a
string, and what is named must be something that the harness itself saw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from dockwright.errors import ToolError
from dockwright.events import JsonObject
from dockwright.report.claims import claims_of, judged
from dockwright.report.evidence import Ledger, marks, path_of
from dockwright.report.return_format import Section
from dockwright.sandbox import WORKSPACE
from dockwright.tools.base import Tool, ToolContext, ToolResult


class Report(Tool):
    """What every SubmitReport has; the sections come with the persona. `ledger` has what it may name."""

    model_config = ConfigDict(protected_namespaces=())
    format: ClassVar[tuple[Section, ...]] = ()
    ledger: ClassVar[Callable[[], Ledger]] = Ledger
    summary: str = Field(min_length=1, description="What was done and what came of it, in two to five plain sentences.")

    async def run(self, ctx: ToolContext) -> ToolResult:
        named = self.named()
        refuted = await self._refuted(ctx)
        told = "\n".join((_REFUTED, *refuted)) if refuted else "The report was taken. End with a sentence or two."
        return ToolResult(told, details={"report": named})

    async def _refuted(self, ctx: ToolContext) -> list[str]:
        """What is refuted as things are, a line each. Raises ToolError where something is named that is neither a
        command of the run nor a file."""
        texts = [(where, text) for where, text, _ in _texts(self.model_dump(), self.format)]
        named = [(where, reference) for where, text in texts for reference in marks(text)]
        ledger = type(self).ledger()
        files = {path_of(reference): "" for _, reference in named if await _is_file(ctx, reference)}
        checks = [check.model_copy(update={"failed": False, "output": ""}) for check in ledger.checks]  # not the last
        ledger = replace(ledger, files=files, checks=checks)
        unknown = [f"- {where}: [[{reference}]]" for where, reference in named if ledger.resolve(reference) is None]
        if unknown:
            raise ToolError(
                "The report was not taken. This names neither a command that you ran, nor a file in the workspace:\n"
                + "\n".join(unknown)
                + "\nName the command as you gave it to Bash, its id below, or a path, or leave the brackets out. You "
                f"ran:\n{ledger.listing}"
            )
        claims = [(where, judged("", "", *claim, ledger)) for where, text in texts for claim in claims_of(text)]
        return [
            f'- {where}: "{claim.text[:200]}": {claim.reason}' for where, claim in claims if claim.verdict == "refuted"
        ]

    def named(self) -> JsonObject:
        """The summary and the sections in the persona's own names. Raises ToolError for what is no answer."""
        answers = self.model_dump()
        texts = _texts(answers, self.format)
        if faults := [f"- {where} {fault}" for where, text, hint in texts if (fault := _fault(text, hint))]:
            raise ToolError("\n".join(("The report was not taken. Correct these fields and submit it again:", *faults)))
        return {"summary": self.summary, "sections": _named(answers, self.format)}


class _Answers(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


_REFUTED = (
    "The report was taken. But what was run says the opposite of this, so that the run counts as unverified. Run what "
    "shows it, if it is so, or say what is so, and submit the whole report again:"
)
_OFFER = """Hand in the report on your work. Call this once, at the very end, when the work is done and was run and
tested. Every field says what was done and why, and names files and commands; what does not apply says so with its
reason; what was not done is admitted. Empty fields and placeholders are refused.

Behind each statement that a command or a file shows, name that in double brackets, the command as you gave it to Bash:
"All 14 tests pass [[python3 -m pytest -q]]. Totals are kept per order [[app/models.py]]." What is named is looked up: a
statement against it counts as refuted, one without as merely stated."""


async def _is_file(ctx: ToolContext, reference: str) -> bool:
    try:
        return (await ctx.sandbox.stat(f"{WORKSPACE}/{path_of(reference)}")).kind == "file"
    except (OSError, ValueError):
        return False


def report_tool(fmt: tuple[Section, ...], ledger: Callable[[], Ledger] = Ledger) -> type[Report]:
    """The tool SubmitReport, with one object for each section and one required text for each field of it. `ledger` has
    what the report may name.

    Its result carries {"summary", "sections"} as `details["report"]`, in the persona's own names and order."""
    fields: dict[str, Any] = {
        "changes": (list[str], Field(description="Each change that was made: what, where and why. Empty if none was."))
    }
    if fmt:
        keys = _keys([section.name for section in fmt], taken={"summary"})
        fields = {key: (_answers(section), ...) for key, section in zip(keys, fmt, strict=True)}
    model = create_model("SubmitReport", __base__=Report, __doc__=_OFFER, **fields)
    model.format, model.ledger = fmt, staticmethod(ledger)
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


def _named(answers: Mapping[str, Any], fmt: tuple[Section, ...]) -> dict[str, Any]:
    if not fmt:
        changes = {str(number): text for number, text in enumerate(answers["changes"], start=1)}
        return {"CHANGES": changes} if changes else {}
    values = [value for key, value in answers.items() if key != "summary"]
    return {
        section.name: dict(zip((field.name for field in section.fields), value.values(), strict=True))
        for section, value in zip(fmt, values, strict=True)
    }


def _texts(answers: Mapping[str, Any], fmt: tuple[Section, ...]) -> Iterator[tuple[str, str, str]]:
    """Each text with the place it has in the call, and the hint it was asked for with."""
    yield "summary", answers["summary"], ""
    if not fmt:
        yield from ((f"changes.{number}", text, "") for number, text in enumerate(answers["changes"]))
        return
    sections = [(key, value) for key, value in answers.items() if key != "summary"]
    for (key, values), section in zip(sections, fmt, strict=True):
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
