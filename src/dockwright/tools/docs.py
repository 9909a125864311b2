"""Writes docs/tools.md from the tools themselves: `python -m dockwright.tools.docs` in the root of the repository.

With `--check` it writes nothing and fails where the page is not what it would write. The deliberate differences from
Claude Code are kept here as data, beside the page they appear on; the tests over the sandbox hold both sides to it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dockwright.events import JsonObject
from dockwright.tools import COMPANIONS, TOOLS
from dockwright.tools.base import Tool

PAGE = Path("docs/tools.md")

INTRODUCTION = """\
<!-- Written by `python -m dockwright.tools.docs`. Change the tools, not this page. -->
# Tools

What a persona can name in its `tools`, and what the model is offered for it. Names, inputs, limits and the form of the
results are those of Claude Code 2.1.330 (MultiEdit, BashOutput and KillShell: of 1.0 and 2.0, which still had them), so
personas and models written for it work as they are. What differs on purpose is [listed below](#deliberate-differences).

Every tool acts inside the sandbox, as the agent's user. Paths are paths of the sandbox; relative ones start from the
directory the shell is in, which is `/workspace` at first.
"""

RULES = """\
## Specifiers

`Bash(git:*)` or `Bash(npm run build)` in a persona's `tools` limits Bash to such commands.

| specifier | allows |
| --- | --- |
| `Bash(git:*)`, `Bash(git *)` | `git`, alone or with arguments |
| `Bash(npm run build)` | exactly that |
| `Bash(make * DEBUG=1)` | anything where the star is |

Each part of a compound command (`&&`, `||`, `;`, `|`, `&`, a new line) must be allowed by one of them. Command and
process substitution, `${...}`, subshells, comments, here documents and redirections other than between descriptors or
to `/dev/null` cannot be checked and are refused. This is policy, not security: a program that is allowed can do
whatever it likes. The sandbox is the boundary.
"""

DIFFERENCES = (
    ("all", "several results come back in the order they were completed", "they come back in the order asked"),
    ("all", "bad values of an enum or a length are told as a dump of JSON", "one line for each field, as for the rest"),
    ("all", "reminders are added to results", "results hold what the tool found, nothing else"),
    ("all", "Bash commands judged read-only run side by side", "Read, Grep, Glob and WebSearch do; Bash never does"),
    ("all", "a persisted output shows its first 2 KB", "its first and its last 2 KB: errors are at the end"),
    ("all", "TaskOutput and TaskStop (2.1), NotebookEdit, TodoWrite, WebFetch and others exist", "they do not"),
    ("Read", "offset 0 numbers lines from 0", "offset 0 is offset 1: numbers are always those of the file"),
    ("Read", "a FIFO hangs", "refused at once, as devices and sockets are"),
    ("Read", "a file with NUL bytes is shown, whatever it is", "shown where it is UTF-8 otherwise; else it is binary"),
    ("Read", "allow_large reads up to what fits the context", "up to about 100000 tokens, then a page is shown"),
    ("Read", "images are scaled down", "sent as they are; over 8000 pixels or 3.75 MB they are refused with the size"),
    ("Read", "pages takes pages out of a PDF", "not offered; a PDF of up to 10 MB is sent whole"),
    ("Read", "a notebook is a list of blocks", "one text; pictures in outputs are named"),
    ("Read", "the page of a long file says how many tokens and lines there are", "over 2 MB it says the size instead"),
    ("Write", "content goes as given into a CRLF file", "a file that is all CRLF stays so where content has only LF"),
    ("Write", "a notebook that was not read is refused", "written like any file"),
    ("Write", "a file with NUL bytes or in an unknown encoding is refused", "replaced"),
    (
        "Edit",
        "a file of mixed line endings gets its majority's",
        "every line keeps its own; new lines take the nearest",
    ),
    ("Edit", "a file that is not UTF-8 is refused", "its text can be edited; all other bytes stay what they are"),
    ("Edit", "a notebook is refused in favour of NotebookEdit", "refused in favour of Bash"),
    ("MultiEdit", "gone since 2.1", "here, atomic"),
    ("MultiEdit", "1.0: a later edit does not see what an earlier one wrote", "it does"),
    ("MultiEdit", "1.0: cannot create a file", "an empty first old_string creates one, as in Edit"),
    ("MultiEdit", "1.0: a failing edit gives that edit's error", "and says which it was and that nothing was changed"),
    ("Write, Edit", "a Bash `cat` counts as having read a file", "it does not; unread files may be written anyway"),
    ("Bash", "a result names files seen before that the command changed", "Write and Edit look when it matters"),
    ("Bash", "the environment is the user's, API key included", "built from nothing; no variable of the host"),
    ("Bash", "after its timeout a command goes on in the background", "it is killed with all it started, as in 1.0"),
    ("Bash", "a command killed by a signal has exit code 1 or 144", "128 + the signal, as shells say it"),
    ("Bash", "long sleeps in the foreground are refused", "they run; the timeout is the limit"),
    ("Bash", "processes left behind are forgotten", "they become a background job whose ID the result gives"),
    ("Bash", "the end of a background command is announced", "BashOutput tells it when asked"),
    (
        "Bash",
        "exit code 1 of grep, diff, test is no error, whatever ran before",
        "only where nothing else can have failed",
    ),
    (
        "Bash",
        "a cut error is cut from what 30000 characters left",
        "from all of it, and the file with the whole is named",
    ),
    ("Bash", "dangerouslyDisableSandbox", "not offered: there is nothing outside"),
    ("Bash", "a specifier such as Bash(git:*) in a persona is ignored", "enforced, see above"),
    ("BashOutput", "a timestamp", "none: the same state gives the same text"),
    ("BashOutput", "filter is a regular expression of JavaScript", "one of ripgrep, which cannot run away"),
    ("KillShell", "the output file of a stopped command ends in [killed]", "it is what the command printed"),
    ("Grep", "a 500 KB one-line file gives no match", "the match is there, its line omitted"),
    ("Grep, Glob", "the inside of .git is searched like the rest", "left out, unless path or pattern point into it"),
    ("WebSearch", "a search by the vendor, with a summary by a model", "ddgs, the API's own search, or a recording"),
    ("WebSearch", "any query", "up to 400 characters, without control characters"),
)


def page() -> str:
    differences = "\n".join(f"| {tool} | {theirs} | {ours} |" for tool, theirs, ours in DIFFERENCES)
    return "\n".join(
        (
            INTRODUCTION,
            *(_section(name, tool) for name, tool in TOOLS.items()),
            RULES,
            "## Deliberate differences\n",
            f"| tool | Claude Code | here |\n| --- | --- | --- |\n{differences}\n",
        )
    )


def _section(name: str, tool: type[Tool]) -> str:
    offer, schema = tool.offer(), tool.offer()["input_schema"]
    parts = [f"## {name}\n", f"{offer['description']}\n"]
    if companions := COMPANIONS.get(name):
        parts.append(f"A persona that lists {name} gets {' and '.join(companions)} too.\n")
    match schema:
        case {"properties": dict(properties), "required": list(required)}:
            rows = (_row(str(field), of, field in required) for field, of in properties.items())
            parts += ["| input | kind | what it is |\n| --- | --- | --- |", *rows, ""]
    return "\n".join(parts)


def _row(name: str, field: Any, required: bool) -> str:
    return f"| `{name}`{' *' if required else ''} | {_kind(field)} | {field['description']} |"


def _kind(field: JsonObject) -> str:
    match field:
        case {"enum": list(values)}:
            kind = ", ".join(f"`{value}`" for value in values)
        case {"items": {"properties": dict(names)}}:
            kind = f"array of {{{', '.join(str(name) for name in names)}}}"
        case {"items": {"type": kind}}:
            kind = f"array of {kind}"
        case _:
            kind = str(field.get("type"))
    bounds = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "minLength": "at least {} characters",
              "maxLength": "at most {} characters", "minItems": "at least {}", "default": "default {}"}  # fmt: skip
    said = [words.format(str(field[key]).lower()) for key, words in bounds.items() if key in field]
    return ", ".join((kind, *said))


def main() -> int:
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), "utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text("utf-8") == page():
        return 0
    sys.stderr.write(f"{PAGE} is not what the tools say. Write it again: python -m dockwright.tools.docs\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
