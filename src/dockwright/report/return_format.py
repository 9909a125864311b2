"""What a persona is asked to return, read from the fenced block below a heading such as "Return Format"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """One field of a section; `hint` says what it holds."""

    name: str
    hint: str = ""


@dataclass(frozen=True)
class Section:
    name: str
    fields: tuple[Question, ...]


_ABOUT_FORMAT = re.compile(
    r"\b(return|output|response|report(ing)?|deliverables?)\b.*\b(format|structure|template)\b", re.IGNORECASE
)
_HEADING = re.compile(r"\s{0,3}(?:(#{1,6})\s+(.+?)[\s#]*|\*\*(.+?)\*\*:?|__(.+?)__:?)\s*")
_LEAD_IN = re.compile(r"[^\s|>].{,80}:\s*")
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)")
_SECTION = re.compile(r"\s*(?:\d+[.)]\s+)?([^\W\d_a-z][^a-z:\[]+):\s*(\[.*)?")
_FIELD = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+([^:\[]{1,80}?)\s*(?::\s*(.*)|(\[.*))?")
_BELOW_ALL = 7  # how deep a heading in bold letters, or a sentence that ends in a colon, counts


def return_format(prompt: str) -> tuple[Section, ...]:
    """The sections of the first fenced block that has some below a heading such as "Return Format"; their names and
    their order are the persona's, and no name is there twice in its place."""
    return next(filter(None, map(_sections, _blocks_about_format(prompt.splitlines()))), ())


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
