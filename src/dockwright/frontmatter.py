"""The front matter of a Markdown file, read as such files are found in the wild.

Many are no YAML. They are read as YAML first; where that fails, line by line, where a known key starts a field.
All scalars stay the text that they are: what a key means is decided by who asks for it, never by YAML's guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import dedent
from typing import Literal

import yaml
from pydantic import JsonValue

from dockwright.errors import ConfigError

BOM = b"\xef\xbb\xbf"

_FENCE = re.compile(r"---[ \t]*\r?")
_KEY = re.compile(r"([A-Za-z][\w-]*)[ \t]*:((?=\s).*|)")
_BLOCK = re.compile(r"\s*[|>][-+]?\s*")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DEEPEST = 30


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file. Lines count from 1."""

    path: Path
    line: int
    severity: Literal["error", "warning"]
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class FileError(ConfigError):
    """A file that cannot be used, with all that is wrong with it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True)
class Field:
    """A value as it is written: text, or lists and mappings of text. `kind` is what YAML takes it for."""

    line: int
    value: JsonValue
    kind: str = "str"


@dataclass(frozen=True)
class Document:
    """`lines` are those between the two `---`: the first of them is line 2 of the file.
    `body` is what follows, untouched."""

    path: Path
    lines: tuple[str, ...]
    fields: dict[str, Field]
    body: str
    problems: tuple[Problem, ...] = ()

    def problem(
        self, key: str, message: str, severity: Literal["error", "warning"] = "error", word: str = ""
    ) -> Problem:
        """At the line of the key, or that of the word where it stands below the key."""
        start = self.fields[key].line if key in self.fields else 1
        below = [start + n for n, line in enumerate(self.lines[max(0, start - 2) :]) if word and word in line]
        return Problem(self.path, below[0] if below else start, severity, message)


def read(data: bytes, path: Path, known: Iterable[str], prose: Iterable[str] = ()) -> Document:
    """`known` are the keys that start a field even inside one of `prose`, whose text may run on over many lines.

    Raises FileError where there is no front matter, or a key is given twice."""
    try:
        text = data.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileError(Problem(path, line, "error", "The file is not UTF-8. Save it as UTF-8.")) from error
    lines = text.split("\n")
    if not _FENCE.fullmatch(lines[0]):
        message = "There is no front matter. Let the first line be `---`, with name and description below it."
        raise FileError(Problem(path, 1, "error", message))
    end = next((n for n, line in enumerate(lines[1:], start=1) if _FENCE.fullmatch(line)), None)
    if end is None:
        raise FileError(Problem(path, 1, "error", "The front matter does not end. Close it with a line `---`."))
    inner, body = tuple(lines[1:end]), "\n".join(lines[end + 1 :])
    problems: tuple[Problem, ...] = ()
    try:
        pairs = _compose("\n".join(inner), 2)
    except yaml.YAMLError as error:
        pairs = _by_lines(inner, frozenset(known), frozenset(prose))
        problems = (_not_yaml(error, path),)
    fields = dict(pairs)
    for key, field in pairs:
        if field is not fields[key]:
            message = (
                f"{key} is given twice, here and in line {fields[key].line}. Remove one, or indent it if it is text."
            )
            raise FileError(Problem(path, field.line, "error", message))
    return Document(path, inner, fields, body, problems)


def nearest(word: str, words: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing."""
    by_lower = {other.lower(): other for other in words}
    near = get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _compose(text: str, first_line: int) -> list[tuple[str, Field]]:
    """The top-level keys of a YAML mapping. Raises YAMLError."""
    try:
        _refuse_bombs(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (ValueError, OverflowError) as error:  # what PyYAML lets through for an escape such as "\UFFFFFFFF"
        raise yaml.MarkedYAMLError(problem="an escape of no character") from error
    if not isinstance(node, yaml.MappingNode):
        raise yaml.MarkedYAMLError(problem="no keys and values")
    return [
        (_text(key), Field(first_line + key.start_mark.line, _plain(value), value.tag.rsplit(":", 1)[-1]))
        for key, value in node.value
    ]


def _refuse_bombs(text: str) -> None:
    """No aliases and no deep nesting: nobody needs them here, and they make a small file huge."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="an alias, or nested too deep")


def _plain(node: yaml.Node) -> JsonValue:
    match node:
        case yaml.MappingNode():
            return {_text(key): _plain(value) for key, value in node.value}
        case yaml.SequenceNode():
            return [_plain(item) for item in node.value]
        case _:
            return "" if node.tag.endswith(":null") else _text(node)


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or _SURROGATE.search(node.value):
        raise yaml.MarkedYAMLError(problem="a key or a character that is no text", problem_mark=node.start_mark)
    return str(node.value)


def _not_yaml(error: yaml.YAMLError, path: Path) -> Problem:
    why, line = "a control character", 2
    if isinstance(error, yaml.MarkedYAMLError):
        why, line = error.problem or "unclear", error.problem_mark.line + 2 if error.problem_mark else 2
    message = f"This is not YAML ({why}) and was read line by line. Quote the value, or write it below a `|`."
    return Problem(path, line, "warning", message)


def _by_lines(lines: Iterable[str], known: frozenset[str], prose: frozenset[str]) -> list[tuple[str, Field]]:
    """Inside a field of prose only a known key starts the next field, elsewhere any key does."""
    blocks: list[tuple[str, int, list[str]]] = []
    for number, line in enumerate((line.removesuffix("\r") for line in lines), start=2):
        match = _KEY.fullmatch(line)
        if match and (match[1] in known or not blocks or blocks[-1][0] not in prose):
            blocks.append((match[1], number, [match[2]]))
        elif blocks:
            blocks[-1][2].append(line)
    return [(key, _lenient(number, block)) for key, number, block in blocks]


def _lenient(line: int, block: list[str]) -> Field:
    """One field: as YAML with tabs taken for spaces, or else as the text that it is."""
    tabless = [re.sub(r"^[ \t]+", lambda indent: indent[0].replace("\t", "  "), row) for row in block]
    try:
        ((_, field),) = _compose("key:" + "\n".join(tabless), line)
        return field
    except (yaml.YAMLError, ValueError):
        if _BLOCK.fullmatch(block[0]):
            return Field(line, dedent("\n".join(tabless[1:])).strip())
        return Field(line, unquoted("\n".join(block).strip()))
