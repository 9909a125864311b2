"""What a task may say, key by key. Each value is checked and made whole: a persona is loaded, a prompt file is read.

What is wrong is returned and not raised, so that all of it can be told at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import ErrorDetails

from dockwright.agent import Agent
from dockwright.errors import ConfigError
from dockwright.events import JsonObject
from dockwright.frontmatter import nearest
from dockwright.proof import Probe
from dockwright.sandbox.images import ARCHIVES
from dockwright.sandbox.policy import Policy

FindAgent = Callable[[str], Agent]
Deliver = Literal["branch", "patch", "none"]
RESULTS = "results.jsonl"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass
class Context:
    """The folder where relative paths start, and the personas that were found."""

    folder: Path
    find_agent: FindAgent
    agents: dict[str, Agent] = field(default_factory=dict)

    def path(self, value: object) -> Path:
        return Path(os.path.abspath(self.folder / os.path.expanduser(_text(value))))

    def agent(self, value: object) -> Agent:
        name = _text(value)
        if "/" in name or name.endswith(".md"):
            name = str(self.path(name))
        if name not in self.agents:
            self.agents[name] = self.find_agent(name)
        return self.agents[name]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"text was expected, not {json.dumps(value)}")
    if not value.strip():
        raise ValueError("it is empty")
    if _NO_TEXT.search(value):
        raise ValueError("it holds a character that is no text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in value) if isinstance(value, list) else (_text(value),)


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"a number was expected, not {json.dumps(value)}")
    return value


def _id(value: str) -> str:
    if not _ID.fullmatch(value) or value == RESULTS:
        raise ValueError(
            f"{value!r} cannot name a folder; take A-Z a-z 0-9 . _ - (100 at most), a letter or digit first"
        )
    return value


def _folder(value: object, info: ValidationInfo) -> Path:
    path = _context(info).path(value)
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    return path


def _contents(value: object, info: ValidationInfo) -> str:
    path = _context(info).path(value)
    try:
        return _text(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"reading {path} failed: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8") from error


def _persona(value: object, info: ValidationInfo) -> Agent:
    try:
        return _context(info).agent(value)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _network(words: tuple[str, ...]) -> tuple[str, ...]:
    try:
        Policy.parse(words)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("--net ")) from error
    return words


def _probes(value: object) -> tuple[Probe, ...]:
    try:
        return tuple(map(Probe.parse, _texts(value)))
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("--probe ")) from error


def _image(value: str, info: ValidationInfo) -> str:
    """A name of the engine's, or the path of an archive of one."""
    if not value.endswith(ARCHIVES):
        return value
    path = _context(info).path(value)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return str(path)


def _context(info: ValidationInfo) -> Context:
    return cast(Context, info.context)


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
Number = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]


class Fields(BaseModel):
    """The keys of a task; None was not given. `prompt_file` is the text in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: Annotated[Text, AfterValidator(_id)] | None = None
    prompt: Text | None = None
    prompt_file: Annotated[str, BeforeValidator(_contents)] | None = None
    repo: Annotated[Path, BeforeValidator(_folder)] | None = None
    agent: Annotated[Agent, BeforeValidator(_persona)] | None = None
    model: Text | None = None
    base: Text | None = None
    check: Texts | None = None
    serve: Text | None = None
    probe: Annotated[tuple[Probe, ...], BeforeValidator(_probes)] | None = None
    check_migrations: Text | None = None
    seed: Text | None = None
    may_change: Texts | None = None
    baseline: bool | None = None
    repairs: Annotated[NonNegativeInt, BeforeValidator(_number)] | None = None
    image: Annotated[Text, AfterValidator(_image)] | None = None
    net: Annotated[Texts, AfterValidator(_network)] | None = None
    services: Texts | None = None
    setup: Text | None = None
    turns: Annotated[PositiveInt, BeforeValidator(_number)] | None = None
    budget: Number | None = None
    minutes: Number | None = None
    deliver: Deliver | None = None
    tags: Texts | None = None
    metadata: JsonObject | None = None


KEYS = tuple(Fields.model_fields)
LISTS = frozenset({"check", "probe", "may_change", "net", "services", "tags"})
PROOF = {  # and what Demands calls it
    "serve": "serve", "probe": "probes", "check_migrations": "migrations", "seed": "seed", "may_change": "may_change",
    "baseline": "baseline",
}  # fmt: skip


def check(given: Mapping[str, JsonValue], context: Context) -> tuple[Fields, list[tuple[str, str]]]:
    """The fields that are right, and for the others the key and what is wrong."""
    try:
        return Fields.model_validate(given, context=context), []
    except ValidationError as error:
        faults = error.errors(include_url=False)
    wrong = {fault["loc"][0] for fault in faults}
    right = {key: value for key, value in given.items() if key not in wrong}
    return Fields.model_validate(right, context=context), [(str(fault["loc"][0]), _words(fault)) for fault in faults]


def unknown(key: str) -> str:
    return f"there is no key {key!r}" + (nearest(key, KEYS) or f"; there are {', '.join(KEYS)}")


def _words(fault: ErrorDetails) -> str:
    key = str(fault["loc"][0])
    match fault["type"]:
        case "extra_forbidden":
            return unknown(key)
        case "value_error":
            return f"{key}: {fault['msg'].removeprefix('Value error, ')}"
        case _:
            return f"{key}: {json.dumps(fault['input'])} is not accepted: {fault['msg']}"
