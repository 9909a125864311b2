"""A Jupyter notebook as text: its cells, each followed by what it printed."""

from __future__ import annotations

import json

from dockwright.tools.output import tidied


def cells_text(data: bytes) -> str | None:
    """None for what is no notebook. Pictures in outputs are named, not shown."""
    try:
        book = json.loads(data)
    except (ValueError, RecursionError):
        return None
    match book:
        case {"cells": [*cells]}:
            return "\n".join(_cell(cell, number) for number, cell in enumerate(cells) if isinstance(cell, dict))
    return None


def _cell(cell: dict[str, object], number: int) -> str:
    ident, kind = cell.get("id") or f"cell-{number}", cell.get("cell_type")
    mark = "" if kind == "code" else f"<cell_type>{kind}</cell_type>"
    outputs = cell.get("outputs")
    printed = (_output(output) for output in (outputs if isinstance(outputs, list) else ()))
    return "\n".join((f'<cell id="{ident}">{mark}{_text(cell.get("source"))}</cell id="{ident}">', *printed))


def _output(output: object) -> str:
    match output:
        case {"output_type": "stream", "text": text}:
            return tidied(_text(text))
        case {"output_type": "error", "ename": name, "evalue": value}:
            return f"{name}: {value}"
        case {"data": dict(data)}:
            left_out = " ".join(f"[{kind} left out]" for kind in data if kind != "text/plain")
            return "\n".join(filter(None, (_text(data.get("text/plain")), left_out)))
        case _:
            return ""


def _text(value: object) -> str:
    match value:
        case str():
            return value
        case list():
            return "".join(str(line) for line in value)
        case _:
            return ""
