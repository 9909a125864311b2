"""A task file (JSON lines, YAML or CSV) as a list of tasks. All that is wrong with it is told at once, by line.

A scalar is the text it was written as; the field in which it stands decides what it means. So `id: 007` and
`check: no` are what they look like, in every format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from dockwright.agent import Agent
from dockwright.errors import ConfigError
from dockwright.events import JsonObject
from dockwright.proof import Demands
from dockwright.redaction import Redaction
from dockwright.tasks.fields import PROOF, Context, Deliver, Fields, FindAgent, check
from dockwright.tasks.foreign import INSTANCE_ID, harbor, is_harbor, swe_bench
from dockwright.tasks.formats import FORMATS, Entry, Mistake

_PROMPTS = ("prompt", "prompt_file")
_NO_PROMPT = "there is no prompt; say what is to be done in `prompt`, or name a file with it in `prompt_file`"


@dataclass(frozen=True)
class Defaults:
    """What a task is given where neither it nor the file's own defaults say something."""

    repo: Path
    agent: Agent
    model: str | None = None
    checks: tuple[str, ...] = ()
    proof: Demands = field(default_factory=Demands)
    repairs: int = 0


@dataclass(frozen=True)
class ListedTask:
    """A task with all that it left out filled in; None is the configuration's. `line` is where it stands. `hidden` is
    one that a secret was taken out of."""

    id: str
    line: int
    prompt: str
    repo: Path
    agent: Agent
    model: str | None = None
    base: str | None = None
    checks: tuple[str, ...] = ()
    proof: Demands = field(default_factory=Demands)
    repairs: int = 0
    image: str | None = None
    net: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None
    setup: str | None = None
    turns: int | None = None
    budget: float | None = None
    minutes: float | None = None
    deliver: Deliver = "branch"
    tags: tuple[str, ...] = ()
    metadata: JsonObject = field(default_factory=dict)
    hidden: bool = False

    @cached_property
    def sha256(self) -> str:
        """Changes with everything that the work depends on, the text of the persona included."""
        asked = (
            self.prompt, str(self.repo), self.agent.sha256, self.model, self.checks, asdict(self.proof), self.repairs,
            self.image, self.net, self.services, self.setup, self.turns, self.budget, self.minutes, self.deliver,
            self.base,
        )  # fmt: skip
        return sha256(json.dumps(asked).encode()).hexdigest()

    def without_secrets(self, redaction: Redaction) -> ListedTask:
        """The task as it may be written down; itself where no secret is in it."""
        told = _TASK.dump_python(self, mode="json")
        kept = redaction.value(told)
        return self if kept is told else replace(_TASK.validate_python(kept), hidden=True)


_TASK = TypeAdapter(ListedTask)


@dataclass(frozen=True)
class _Checked:
    """An entry with those of its fields that are right, and what is wrong with the others."""

    entry: Entry
    fields: Fields
    mistakes: tuple[Mistake, ...]

    @property
    def given(self) -> dict[str, Any]:
        return {name: getattr(self.fields, name) for name in self.fields.model_fields_set}


def read_tasks(
    path: Path, defaults: Defaults, find_agent: FindAgent, repos: Path | None = None
) -> tuple[ListedTask, ...]:
    """The tasks of a file, in its order, or those of a folder of Harbor tasks. `repos` is where the checkouts of
    SWE-bench instances are. Raises ConfigError with every mistake as `file:line: message`.

    The paths of `repo`, `prompt_file` and personas start at the folder of the file. Where no task has an id, they are
    called task-001 and so on.
    """
    if not defaults.repo.is_dir():
        raise ConfigError(f"There is no folder {defaults.repo} to work on. Check the path given with -C.")
    parsed = [_ours(part, repos) for part in _parse(path)]
    context = Context(path.absolute().parent, find_agent)
    checked = [_check(part, context) for part in parsed if isinstance(part, Entry)]
    shared = next((part for part in checked if part.entry.is_defaults), None)
    tasks = [part for part in checked if not part.entry.is_defaults]
    mistakes = [part for part in parsed if isinstance(part, Mistake)]
    mistakes += (mistake for part in checked for mistake in part.mistakes)
    mistakes += _id_mistakes(tasks)
    mistakes += (Mistake(task.entry.line, _NO_PROMPT) for task in tasks if not _has_prompt(task, shared))
    given = shared.given if shared else {}
    mistakes += _proof_mistakes(tasks, given, defaults.proof)
    if not tasks and not mistakes:
        mistakes = [Mistake(1, "there is no task in it")]
    if mistakes:
        told = dict.fromkeys(f"{path}:{m.line}: {m.message}" for m in sorted(mistakes, key=lambda m: m.line))
        raise ConfigError("\n".join(("The task file cannot be used, so nothing was started.", *told)))
    return tuple(_listed(number, task, given, defaults) for number, task in enumerate(tasks, start=1))


def _ours(part: Entry | Mistake, repos: Path | None) -> Entry | Mistake:
    return swe_bench(part, repos) if isinstance(part, Entry) and INSTANCE_ID in part.values else part


def _parse(path: Path) -> list[Entry | Mistake]:
    if path.is_dir() and is_harbor(path):
        return list(harbor(path.absolute()))
    parse = FORMATS.get(path.suffix.lower())
    if parse is None:
        names = ", ".join(f"*{suffix}" for suffix in FORMATS)
        raise ConfigError(f"The name of {path} does not say what kind of task file it is. Name it {names}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Reading the task file {path} failed: {error.strerror}. Check the path.") from error
    try:
        return list(parse(data.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        return [Mistake(data.count(b"\n", 0, error.start) + 1, "this is not UTF-8; save the file as UTF-8")]


def _check(entry: Entry, context: Context) -> _Checked:
    given = {key: value for key, value in entry.values.items() if value is not None}
    fields, faults = check(given, context)
    mistakes = [Mistake(entry.line_of(key), message) for key, message in faults]
    if entry.is_defaults and "id" in given:
        mistakes.append(Mistake(entry.line_of("id"), "id: tasks cannot share one"))
    if given.keys() >= set(_PROMPTS):
        mistakes.append(Mistake(entry.line_of("prompt_file"), "`prompt` and `prompt_file` are both given; keep one"))
    return _Checked(entry, fields, tuple(mistakes))


def _id_mistakes(tasks: Sequence[_Checked]) -> Iterator[Mistake]:
    """Ids name folders, so two that differ only in case would meet on some file systems."""
    lines: dict[str, int] = {}
    some = any(task.entry.values.get("id") is not None for task in tasks)
    for task in tasks:
        if some and task.entry.values.get("id") is None:
            yield Mistake(task.entry.line, "there is no id, but other tasks have one; give one to all or to none")
        if (id_ := task.fields.id) is None:
            continue
        line = task.entry.line_of("id")
        first = lines.setdefault(id_.casefold(), line)
        if first != line:
            yield Mistake(line, f"id: {id_!r} is taken by line {first}")


def _has_prompt(task: _Checked, shared: _Checked | None) -> bool:
    """Whether one was given, right or wrong."""
    given = [task.entry.values, shared.entry.values if shared else {}]
    return any(values.get(key) is not None for values in given for key in _PROMPTS)


def _proof_mistakes(tasks: Sequence[_Checked], shared: Mapping[str, Any], defaults: Demands) -> Iterator[Mistake]:
    for task in tasks:
        if task.mistakes:
            continue
        try:
            _proof({**shared, **task.given}, defaults)
        except ConfigError as error:
            yield Mistake(task.entry.line, str(error))


def _proof(given: Mapping[str, Any], defaults: Demands) -> Demands:
    """Raises ConfigError where what is asked for does not go together."""
    return replace(defaults, **{name: given[key] for key, name in PROOF.items() if key in given})


def _listed(number: int, task: _Checked, shared: Mapping[str, Any], defaults: Defaults) -> ListedTask:
    own = task.given
    given = {"id": f"task-{number:03}", "repo": defaults.repo, "agent": defaults.agent, "model": defaults.model,
             "check": defaults.checks, "repairs": defaults.repairs, **shared, **own}  # fmt: skip
    prompts = own if own.keys() & set(_PROMPTS) else shared
    given["prompt"] = prompts.get("prompt") or prompts["prompt_file"]
    given["checks"] = given.pop("check")
    given["proof"] = _proof(given, defaults.proof)
    given = {key: value for key, value in given.items() if key not in (*PROOF, "prompt_file")}
    return ListedTask(line=task.entry.line, **given)
