"""One tool call as people see it: what was asked, what came of it, and the few lines worth a look.

No tool is known here by name. The input says what was asked; of `details`, which says what came of it, `diff`,
`exit_code`, `count` and `lines` are shown.
"""

from __future__ import annotations

import json
import re

from rich.text import Text

from dockwright.events import CheckFinished, JsonObject, ToolFinished
from dockwright.ui.visible import clip, visible
from dockwright.ui.words import count, duration

_SUBJECTS = ("command", "file_path", "notebook_path", "pattern", "query", "url", "bash_id", "shell_id", "task_id")
_WORKSPACE = "/workspace/"
_LONGEST = 400
_LONG_COMMAND = 60
_NOTABLE_SECONDS = 1.0
_DIFF_LINES, _NEW_FILE_LINES = 12, 4
_ERROR_LINES = 4
_TAIL_LINES = 8
# Lines in the output of a command that are ours, and for the model.
_MARKS = re.compile(r"</?(persisted-output|stdout)>|<status>.*|<exit_code>.*|\(Bash completed with no output\)")

Line = tuple[str, str]


def asked(name: str, given: JsonObject) -> Text:
    """`Bash pytest -q`, `Read app/models.py`: the tool and its subject on one line, sanitised."""
    subject, about = _subject(given), given.get("description")
    if isinstance(about, str) and about and ("\n" in subject or len(subject) > _LONG_COMMAND):
        subject = about  # the model's own words for a command that says little at a glance
    first, _, more = subject.partition("\n")
    text = Text.assemble((visible(clip(name, 40), newlines=False).ljust(5), "bold"), " ", _one_line(first))
    if more:
        text.append(f" (+{more.rstrip().count(chr(10)) + 1} lines)", "dim")
    return text


def outcome(event: ToolFinished) -> Text:
    """`exit 0 · 1.2 s`, `+4 -1`, `12 found`, `41 lines`, `failed`."""
    facts: list[Text] = []
    match event.details.get("exit_code"):
        case int(code):
            facts.append(_exit(code))
        case _ if event.is_error:
            facts.append(Text("failed", "red"))
    if diff := _diff_body(event):
        facts.append(_diff_counts(diff))
    match event.details:
        case {"count": int(number)}:
            facts.append(Text(f"{number} found"))
        case {"lines": int(number)}:
            facts.append(Text(count(number, "line")))
    if event.seconds >= _NOTABLE_SECONDS or "exit_code" in event.details:
        facts.append(Text(duration(event.seconds), "dim"))
    return Text.assemble((" · ", "dim")).join(facts)


def last_words(event: ToolFinished | CheckFinished) -> Text:
    """What a command that went well said last, to stand behind it."""
    match event:
        case CheckFinished(exit_code=0, kind="command", output=output):
            lines = _lines(output)
        case CheckFinished(exit_code=0, kind="probe", output=output):
            lines = _lines(output)[:1]  # the answer; the rest is what the server printed
        case ToolFinished(is_error=False, details={"exit_code": 0}):
            lines = _output(event)
        case _:
            lines = []
    return Text.assemble("  ", (_one_line(lines[-1].strip()), "dim")) if lines else Text()


def worth_a_look(event: ToolFinished, *, verbose: bool = False) -> list[Line]:
    """The diff of an edit, the end of a failed command's output, the start of any other error."""
    if diff := _diff_body(event):
        most = len(diff) if verbose else _NEW_FILE_LINES if diff[0].startswith("@@ -0,0 ") else _DIFF_LINES
        return _head([(line, diff_style(line)) for line in diff], most)
    code = event.details.get("exit_code")
    if isinstance(code, int) and (code != 0 or verbose):
        return _tail(_output(event))
    if event.is_error:
        return _head([(line, "red") for line in _output(event)], _ERROR_LINES)
    return []


def check_outcome(check: CheckFinished) -> Text:
    ended = Text("timed out", "red") if check.exit_code is None else _exit(check.exit_code)
    return Text.assemble(ended, (" · ", "dim"), (duration(check.seconds), "dim"))


def check_output(check: CheckFinished) -> list[Line]:
    """The end of what a failed check printed."""
    return [] if check.exit_code == 0 else _tail(_lines(check.output))


def _subject(given: JsonObject) -> str:
    for key in _SUBJECTS:
        value = given.get(key)
        if isinstance(value, str):
            place = given.get("path") or given.get("glob") if key == "pattern" else None
            return f"{value} in {place}" if place else value.removeprefix(_WORKSPACE)
    text = json.dumps(given) if given else ""
    return text if len(text) <= _LONG_COMMAND else ""


def _one_line(text: str) -> str:
    return visible(text[:_LONGEST], newlines=False)


def _exit(code: int) -> Text:
    return Text(f"exit {code}", "green" if code == 0 else "red")


def _lines(text: str) -> list[str]:
    return re.split(r"\r?\n", text.rstrip()) if text.strip() else []


def _output(event: ToolFinished) -> list[str]:
    """The lines that the model read, without the marks that are meant for the model."""
    text = event.content if isinstance(event.content, str) else "\n".join(_block(block) for block in event.content)
    text = text.strip().removeprefix("<tool_use_error>").removesuffix("</tool_use_error>")
    lines = _lines(text.removeprefix(f"Exit code {event.details.get('exit_code')}").strip("\r\n"))
    return [line for line in lines if not _MARKS.fullmatch(line)]


def _block(block: JsonObject) -> str:
    text = block.get("text")
    return text if isinstance(text, str) else f"[{block.get('type')}]"


def _diff_body(event: ToolFinished) -> list[str]:
    """The lines of a unified diff from its first hunk on."""
    diff = event.details.get("diff")
    if not isinstance(diff, str) or event.is_error:
        return []
    lines = _lines(diff)
    start = next((number for number, line in enumerate(lines) if line.startswith("@@")), len(lines))
    return lines[start:]


def _diff_counts(lines: list[str]) -> Text:
    added = sum(line.startswith("+") for line in lines)
    removed = sum(line.startswith("-") for line in lines)
    cut = any(line.startswith("... [") for line in lines)
    return Text.assemble((f"+{added}", "green"), " ", (f"-{removed}", "red"), " or more" if cut else "")


def diff_style(line: str) -> str:
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def _head(lines: list[Line], most: int) -> list[Line]:
    if len(lines) <= most + 1:
        return lines
    return [*lines[:most], (f"… {len(lines) - most} more lines", "dim")]


def _tail(lines: list[str]) -> list[Line]:
    if len(lines) <= _TAIL_LINES + 1:
        return [(line, "") for line in lines]
    above = (f"… {len(lines) - _TAIL_LINES} lines above", "dim")
    return [above, *((line, "") for line in lines[-_TAIL_LINES:])]
