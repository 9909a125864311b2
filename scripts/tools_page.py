"""Writes what the tools say of themselves into docs/tools.md: `.venv/bin/python scripts/tools_page.py`, in the root of
the repository. The rest of that page is written by hand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dockwright.events import JsonObject
from dockwright.tools import COMPANIONS, TOOLS
from dockwright.tools.base import Tool

PAGE = Path("docs/tools.md")
BEGIN = "<!-- From here on written by scripts/tools_page.py. Change the tools, not this part. -->\n"
END = "<!-- Up to here. -->\n"


def main() -> None:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    sections = "\n".join(_section(name, tool) for name, tool in TOOLS.items())
    PAGE.write_text(f"{before}{BEGIN}\n{sections}\n{END}{rest.partition(END)[2]}", "utf-8")


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


if __name__ == "__main__":
    main()
