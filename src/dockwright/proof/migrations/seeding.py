"""Rows for tables that somebody else made: two for each, with values that fit the types, keys and lists of choices.

What constraints beyond these say is not understood; then the database refuses the row, and that is told.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

ROWS = 2


class Column(BaseModel):
    """`required` has to be given, `generated` the database can fill itself. `references` is a table and its column."""

    model_config = ConfigDict(frozen=True)
    name: str
    type: str
    required: bool
    generated: bool
    references: tuple[str, str] | None = None
    choices: tuple[str, ...] = ()


class Table(BaseModel):
    model_config = ConfigDict(frozen=True)
    name: str
    columns: tuple[Column, ...] | None


def in_order(tables: Sequence[Table]) -> list[Table]:
    """Tables after those that they refer to, as far as that is possible."""
    left, ordered = list(tables), list[Table]()
    while left:
        waiting = {table.name for table in left}
        ready = [table for table in left if not (_needs(table) & waiting) - {table.name}] or left[:1]
        ordered += ready
        left = [table for table in left if table not in ready]
    return ordered


def _needs(table: Table) -> set[str]:
    return {column.references[0].strip('"') for column in table.columns or () if column.references and column.required}


def rows(table: Table, number: int) -> list[str]:
    """Statements for row `number` (from 1), to be tried in order until one is taken: full, then only what must be."""
    columns = table.columns or ()
    full = [column for column in columns if not column.generated]
    needed = [column for column in columns if column.required]
    return list(dict.fromkeys(_insert(table, chosen, number) for chosen in (full, needed)))


def _insert(table: Table, columns: Sequence[Column], number: int) -> str:
    if not columns:
        return f"INSERT INTO {_name(table.name)} DEFAULT VALUES"
    names = ", ".join(_name(column.name) for column in columns)
    values = ", ".join(_value(column, number) for column in columns)
    return f"INSERT INTO {_name(table.name)} ({names}) VALUES ({values})"  # noqa: S608 - all quoted, and a sandbox's own


def _value(column: Column, number: int) -> str:
    if column.references:
        other, key = column.references
        field = key if key == "rowid" else _name(key)
        return f"(SELECT {field} FROM {_name(other)} ORDER BY 1 LIMIT 1 OFFSET {number - 1})"  # noqa: S608
    if column.choices:
        return _text(column.choices[(number - 1) % len(column.choices)])
    kind = column.type.lower()
    if kind.endswith("[]"):
        return "'{}'"
    for pattern, value in _VALUES:
        if re.match(pattern, kind):
            return value.format(n=number)
    return _words(column, number)


_VALUES = (
    (r"bool", "true"),
    (r"(tiny|small|big|medium)?int|serial|bigserial|numeric|decimal|real|double|float|money|oid", "{n}"),
    (r"timestamp|datetime", "'2026-01-0{n} 00:00:00'"),
    (r"date", "'2026-01-0{n}'"),
    (r"time", "'0{n}:00:00'"),
    (r"interval", "'{n} days'"),
    (r"uuid", "'00000000-0000-4000-8000-00000000000{n}'"),
    (r"json", "'{{}}'"),
    (r"bytea|blob|binary|varbinary", "'\\x0{n}'"),
    (r"inet|cidr", "'192.0.2.{n}'"),
    (r"tsvector", "'word'"),
)


def _words(column: Column, number: int) -> str:
    name = column.name.lower()
    text = f"row {number}"
    if "mail" in name:
        text = f"row{number}@example.com"
    elif "url" in name or "link" in name:
        text = f"https://example.com/{number}"
    elif "currency" in name:
        text = "EUR"
    length = re.search(r"\((\d+)\)", column.type)
    return _text(text if length is None or len(text) <= int(length[1]) else str(number)[: int(length[1])])


def _name(name: str) -> str:
    plain = name.strip('"')
    return '"' + plain.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
