"""The formats of task files, each as entries and the mistakes that keep others from being one.

All scalars of YAML stay text, as those of CSV are; numbers are made of them where a number is expected.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import JsonValue

from dockwright.events import JsonObject
from dockwright.tasks.fields import KEYS, LISTS, unknown


@dataclass(frozen=True)
class Mistake:
    line: int
    message: str


@dataclass(frozen=True)
class Entry:
    """A task, or what the tasks share, as written. `lines` says where those keys stand that are not on `line`."""

    line: int
    values: Mapping[str, JsonValue]
    lines: Mapping[str, int] = field(default_factory=dict)
    is_defaults: bool = False

    def line_of(self, key: str) -> int:
        return self.lines.get(key, self.line)


Parsed = Iterator[Entry | Mistake]


def _json_lines(text: str) -> Parsed:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = _json(line)
        except ValueError as error:
            yield Mistake(number, str(error))
        else:
            yield Entry(number, value) if isinstance(value, dict) else Mistake(number, "this is no JSON object")


def _json_list(text: str) -> Parsed:
    """A list of objects, as data sets come; an entry's line is its place in the list."""
    try:
        values = _json(text)
    except ValueError as error:
        yield Mistake(1, str(error))
        return
    for number, value in enumerate(values if isinstance(values, list) else [values], start=1):
        yield Entry(number, value) if isinstance(value, dict) else Mistake(number, "this is no JSON object")


def _json(text: str) -> JsonValue:
    """Raises ValueError saying what is wrong and where."""
    try:
        value: JsonValue = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("this is JSON nested too deep") from error
    return value


def _once(pairs: Sequence[tuple[str, JsonValue]]) -> JsonObject:
    for key in _twice([key for key, _ in pairs]):
        raise ValueError(f"{key!r} is given twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _twice(keys: Sequence[str]) -> list[str]:
    return [key for key in dict.fromkeys(keys) if keys.count(key) > 1]


def _csv(text: str) -> Parsed:
    """RFC 4180 with a header. A list is a cell with an item a line, metadata a cell of JSON; nothing is not given."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    line = 1
    try:
        for row in reader:
            first, line = line, reader.line_num + 1
            if not any(row):
                continue
            if not header:
                header = [name.strip() for name in row]
                yield from (Mistake(first, unknown(name)) for name in header if name not in KEYS)
                yield from (Mistake(first, f"{name!r} is given twice") for name in _twice(header))
            elif len(row) != len(header):
                yield Mistake(first, f"this line has {len(row)} cells, but the header has {len(header)}")
            else:
                yield from _row(first, {key: cell for key, cell in zip(header, row, strict=True) if key in KEYS})
    except csv.Error as error:
        yield Mistake(line, f"this is not CSV: {error}")


def _row(line: int, cells: Mapping[str, str]) -> Parsed:
    values: dict[str, JsonValue] = {key: cell for key, cell in cells.items() if cell}
    for key in values.keys() & LISTS:
        values[key] = [item for item in cells[key].splitlines() if item.strip()]
    if "metadata" in values:
        try:
            values["metadata"] = _json(cells["metadata"])
        except ValueError as error:
            del values["metadata"]
            yield Mistake(line, f"metadata: {error}")
    yield Entry(line, values)


class _Loader(yaml.SafeLoader):
    """Takes no aliases: a small file of them stands for a huge one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            untyped: Any = self
            mark = untyped.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not taken; share by `defaults`", problem_mark=mark)
        return super().compose_node(parent, index)


def _yaml(text: str) -> Parsed:
    """A list of tasks, or a mapping of `tasks` and the `defaults` they share."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        yield _not_yaml(error, text)
        return
    match node:
        case yaml.SequenceNode():
            yield from _items(node)
        case yaml.MappingNode():
            yield from _sections(node)
        case None:
            return
        case _:
            yield Mistake(_line(node), "this is no list of tasks")


def _not_yaml(error: Exception, text: str) -> Mistake:
    match error:
        case yaml.MarkedYAMLError(problem_mark=yaml.Mark() as mark):
            return Mistake(mark.line + 1, f"this is not YAML: {error.problem}")
        case yaml.reader.ReaderError():
            return Mistake(text.count("\n", 0, error.position) + 1, f"this is not YAML: {error.reason}")
        case RecursionError():
            return Mistake(1, "this is YAML nested too deep")
        case _:
            return Mistake(1, f"this is not YAML: {error}")


def _sections(node: yaml.MappingNode) -> Parsed:
    yield from _given_twice(node)
    for key, value in node.value:
        match str(key.value), value:
            case "tasks", yaml.SequenceNode():
                yield from _items(value)
            case "defaults", yaml.MappingNode():
                yield from _entry(value, is_defaults=True)
            case "tasks", _:
                yield Mistake(_line(key), "`tasks` is no list")
            case "defaults", _:
                yield Mistake(_line(key), "`defaults` has no keys")
            case name, _:
                yield Mistake(_line(key), f"there is no section {name!r}; there are defaults and tasks")


def _items(node: yaml.SequenceNode) -> Parsed:
    for item in node.value:
        if isinstance(item, yaml.MappingNode):
            yield from _entry(item)
        else:
            yield Mistake(_line(item), "this is no task; write its keys, as in `- prompt: ...`")


def _entry(node: yaml.MappingNode, *, is_defaults: bool = False) -> Parsed:
    yield from _given_twice(node)
    pairs = [(str(key.value), key, value) for key, value in node.value]
    values = {name: _typed(value) if name == "metadata" else _plain(value) for name, _, value in pairs}
    yield Entry(_line(node), values, {name: _line(key) for name, key, _ in pairs}, is_defaults)


def _given_twice(node: yaml.MappingNode) -> Parsed:
    for name in _twice([str(key.value) for key, _ in node.value]):
        last = [key for key, _ in node.value if str(key.value) == name][-1]
        yield Mistake(_line(last), f"{name!r} is given twice")


def _plain(node: yaml.Node) -> JsonValue:
    """Scalars as they are written; nothing and null are None."""
    match node:
        case yaml.MappingNode():
            return {str(key.value): _plain(value) for key, value in node.value}
        case yaml.SequenceNode():
            return [_plain(item) for item in node.value]
        case _:
            return None if node.tag.endswith(":null") else str(node.value)


def _typed(node: yaml.Node) -> JsonValue:
    """Scalars as what YAML takes them for, as far as JSON has it."""
    match node:
        case yaml.MappingNode():
            return {str(key.value): _typed(value) for key, value in node.value}
        case yaml.SequenceNode():
            return [_typed(item) for item in node.value]
        case yaml.ScalarNode(tag="tag:yaml.org,2002:int" | "tag:yaml.org,2002:float" | "tag:yaml.org,2002:bool"):
            value: JsonValue = yaml.constructor.SafeConstructor().construct_object(node)
            return value
        case _:
            return _plain(node)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


FORMATS: Mapping[str, Callable[[str], Parsed]] = {
    ".jsonl": _json_lines,
    ".json": _json_list,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".csv": _csv,
}
