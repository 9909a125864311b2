"""What a tool is: the class is the offer to the model, an instance is one validated call.

`Read(file_path="app.py")` can be printed, compared, logged, replayed and run. A tool raises ToolError (or lets an
OSError of the sandbox pass) for what the model should read as a failed call; anything else ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import getdoc
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from dockwright.events import JsonObject
from dockwright.sandbox import WORKSPACE, Sandbox


@dataclass(frozen=True)
class ToolResult:
    """`text` is what the model reads; `blocks` stand in its place where it is not text (images, documents).
    `details` is what people and the report see: diff, exit_code, output_file, counts."""

    text: str
    is_error: bool = False
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    blocks: tuple[JsonObject, ...] = ()


@dataclass(frozen=True)
class SearchHit:
    title: str
    url: str
    text: str = ""


class SearchBackend(Protocol):
    """Where WebSearch looks. Raises ToolError with an honest reason when it cannot."""

    async def search(
        self, query: str, *, allowed_domains: tuple[str, ...] = (), blocked_domains: tuple[str, ...] = ()
    ) -> tuple[SearchHit, ...]: ...


@dataclass
class ToolContext:
    """What a call may use. `cwd` is the shell's working directory, the only state of it that lives on between calls.

    `seen` maps the path of each file that the model has read or written to the sha256 of the bytes it saw.
    `rules` are the persona's specifiers by tool name: `Bash(git:*)` is {"Bash": ("git:*",)}; no entry, no restriction.
    `on_output` takes decoded output of a running command, for live display.
    """

    sandbox: Sandbox
    cwd: str = WORKSPACE
    seen: dict[str, str] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    search: SearchBackend | None = None
    on_output: Callable[[str], None] | None = None


class Tool(BaseModel):
    """Subclasses are named as the model names them; fields are the input, the docstring is the text of the offer."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)
    read_only: ClassVar[bool] = False

    async def run(self, ctx: ToolContext) -> ToolResult:
        raise NotImplementedError

    @classmethod
    def offer(cls) -> JsonObject:
        """The tool as the Messages API takes it: name, description, input_schema."""
        schema = cls.model_json_schema(by_alias=True)
        _drop_titles(schema)
        schema.pop("description", None)
        return {"name": cls.__name__, "description": getdoc(cls) or "", "input_schema": schema}


def _drop_titles(node: JsonValue) -> None:
    match node:
        case dict():
            if isinstance(node.get("title"), str):
                del node["title"]
            for value in node.values():
                _drop_titles(value)
        case list():
            for value in node:
                _drop_titles(value)
