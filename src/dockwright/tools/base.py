"""What a tool is: the class is the offer to the model, an instance is one validated call.

`Read(file_path="app.py")` can be printed, compared, logged, replayed and run. A tool raises ToolError (or lets an
OSError of the sandbox pass) for what the model should read as a failed call; anything else ends the run.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import getdoc
from typing import Annotated, ClassVar, Protocol, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from dockwright.errors import ToolError
from dockwright.events import JsonObject
from dockwright.sandbox import HOME, WORKSPACE, Sandbox
from dockwright.sandbox.asked import Asked


class Refused(ToolError):
    """The call was turned down by a rule of ours before it acted; the model sees it marked as such."""


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
    """What the calls of one session share. `cwd` is the shell's working directory, the only state of it that lives on.

    `seen` maps the path of each file that the model has read or written to the sha256 of the bytes it saw.
    `rules` are the persona's specifiers by tool name: `Bash(git:*)` is {"Bash": ("git:*",)}; no entry, no restriction.
    `jobs` maps the id of each background job to the command that started it. `on_output` takes decoded output of a
    running command, for live display. `asked` is what programs in the sandbox asked of the network; `word` has what the
    model is to know beside a result, or "".
    """

    sandbox: Sandbox
    cwd: str = WORKSPACE
    seen: dict[str, str] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    search: SearchBackend | None = None
    on_output: Callable[[str], None] | None = None
    jobs: dict[str, str] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)
    word: Callable[[], Awaitable[str]] | None = None
    _told: tuple[str, Mapping[str, str]] = field(default=(WORKSPACE, {}), init=False, repr=False)

    def put_back(self, cwd: str, seen: Mapping[str, str]) -> None:
        """Make the shell's directory and what was seen what they were."""
        self.cwd, self.seen = cwd, dict(seen)
        self._told = (cwd, seen)

    def news(self) -> JsonObject:
        """What of `cwd` and `seen` changed since this was asked last; a path that is null is no longer seen."""
        (cwd, seen), self._told = self._told, (self.cwd, dict(self.seen))
        changed: JsonObject = {
            path: self.seen.get(path) for path in {*seen, *self.seen} if seen.get(path) != self.seen.get(path)
        }
        return {**({"cwd": self.cwd} if self.cwd != cwd else {}), **({"seen": changed} if changed else {})}

    def resolve(self, path: str) -> str:
        """The absolute path inside the sandbox that the model means: from the cwd, `~` expanded, dots removed."""
        if path == "~" or path.startswith("~/"):
            path = HOME + path[1:]
        return posixpath.normpath(posixpath.join(self.cwd, path))


def _unicode(value: str) -> str:
    if re.search("[\ud800-\udfff]", value):
        raise ValueError("it holds half of a surrogate pair, which is no character")
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("a NUL character cannot be part of it")
    return value


Text = Annotated[str, AfterValidator(_unicode)]
"""A string as it is in every input: JSON can say what Unicode cannot."""
Argument = Annotated[Text, AfterValidator(_without_nul)]
"""Text that becomes a path or an argument of a program."""
FilePath = Annotated[Argument, Field(description="Path of the file, absolute or from the current directory")]


class Tool(BaseModel):
    """Subclasses are named as the model names them; fields are the input, the docstring is the text of the offer."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)
    read_only: ClassVar[bool] = False

    async def run(self, ctx: ToolContext) -> ToolResult:
        raise NotImplementedError

    @classmethod
    @lru_cache(maxsize=128)
    def offer(cls) -> JsonObject:
        """The tool as the Messages API takes it: name, description, input_schema."""
        schema = cls.model_json_schema(by_alias=True)
        plain = cast(JsonObject, _plain(schema, schema.get("$defs", {})))
        plain.pop("description", None)
        return {"name": cls.__name__, "description": getdoc(cls) or "", "input_schema": plain}


def _plain(node: JsonValue, defs: JsonObject) -> JsonValue:
    """The schema as people write it by hand: no titles, no references, "may be absent" instead of "may be null"."""
    match node:
        case {"$ref": str(ref)}:
            return _plain(defs[ref.rpartition("/")[2]], defs)
        case {"anyOf": [dict(kind), {"type": "null"}], **rest}:
            return _plain(cast(JsonObject, {**kind, **rest}), defs)
        case dict():
            noise = {name for name in ("title", "default") if not isinstance(node.get(name), dict | bool | int)}
            return {key: _plain(value, defs) for key, value in node.items() if key not in noise | {"$defs"}}
        case list():
            return [_plain(value, defs) for value in node]
        case _:
            return node


def validation_error_text(name: str, error: ValidationError) -> str:
    """What the model reads about bad input: one line for each field."""
    lines = (_issue(issue) for issue in error.errors(include_url=False, include_context=False))
    return "\n".join((f"InputValidationError: {name} failed due to the following issue(s):", *lines))


def _issue(issue: ErrorDetails) -> str:
    where = ".".join(str(part) for part in issue["loc"])
    match issue["type"]:
        case "missing":
            return f"The required parameter `{where}` is missing"
        case "extra_forbidden":
            return f"An unexpected parameter `{where}` was provided"
        case kind if expected := _EXPECTED.get(kind):
            return (
                f"The parameter `{where}` type is expected as `{expected}` "
                f"but provided as `{_json_type(issue['input'])}`"
            )
        case _:
            return f"The parameter `{where}` was not accepted: {issue['msg'].removeprefix('Value error, ')}"


_EXPECTED = {
    "string_type": "string",
    "int_type": "integer", "int_parsing": "integer", "int_from_float": "integer",
    "float_type": "number", "float_parsing": "number", "bool_type": "boolean", "bool_parsing": "boolean",
    "list_type": "array", "tuple_type": "array", "model_type": "object", "dict_type": "object",
}  # fmt: skip


def _json_type(value: object) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case None:
            return "null"
        case _:
            return "object"


def error_result(error: ToolError | OSError | ValidationError) -> ToolResult:
    """The one way from an exception to what the model reads. Our own refusals are wrapped; failures are plain text."""
    match error:
        case ValidationError():
            text = validation_error_text(error.title, error)
        case ToolError():
            text = str(error)
        case _:
            text = os_error_text(error)
    if isinstance(error, ValidationError | Refused):
        text = f"<tool_use_error>{text}</tool_use_error>"
    return ToolResult(text, is_error=True)


def os_error_text(error: OSError) -> str:
    """`EACCES: permission denied, '/x'`: the kind, the kernel's words, then the file."""
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    words = "illegal operation on a directory" if error.errno == errno.EISDIR else os.strerror(error.errno or 0)
    return f"{code}: {words.lower()}" + (f", {error.filename!r}" if error.filename else "")
