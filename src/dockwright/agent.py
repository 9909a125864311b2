"""A persona: a Markdown file in the Claude Code subagent format. Data, no behaviour.

The list of tools is a hard boundary: `resolve_tools` says once what a persona may use, and falls shut.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, JsonValue

from dockwright import frontmatter
from dockwright.errors import ConfigError
from dockwright.frontmatter import Document, Field, FileError, Problem, nearest

RULED = ("Bash",)  # the tools whose specifiers, as in `Bash(git:*)`, are enforced
CLAUDE_CODE_TOOLS = frozenset({
    "Agent", "AskUserQuestion", "Bash", "BashOutput", "Edit", "EnterPlanMode", "ExitPlanMode", "Glob", "Grep",
    "KillShell", "ListAgents", "ListMcpResourcesTool", "LS", "LSP", "Monitor", "MultiEdit", "NotebookEdit",
    "NotebookRead", "Read", "ReadMcpResourceTool", "ReportFindings", "ScheduleWakeup", "Skill", "SlashCommand",
    "Task", "TaskCreate", "TaskGet", "TaskList", "TaskOutput", "TaskStop", "TaskUpdate", "TodoRead", "TodoWrite",
    "ToolSearch", "WebFetch", "WebSearch", "Workflow", "Write",
})  # fmt: skip

_TEXTS = ("name", "description", "model", "effort", "color")
_LISTS = ("tools", "disallowedTools")
_USED = (*_TEXTS, *_LISTS, "maxTurns")
_SWITCHES = ("background", "omitClaudeMd", "observeSubagents", "observeToolResults")
_UNUSED = (
    "permissionMode", "skills", "mcpServers", "hooks", "memory", "isolation", "initialPrompt", "autoCompactWindow",
    "observer", "observerMessage", "experimental", *_SWITCHES,
)  # fmt: skip
_PROSE = ("description", "initialPrompt", "observerMessage")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_RULED_ENTRY = re.compile(r"([^()]+?)\s*\((.*)\)", re.DOTALL)


class Agent(BaseModel, frozen=True):
    """`prompt` is the body of the file, untouched. `tools` None means every tool, an empty tuple none.

    `rules` holds what stood in brackets behind a tool: `Bash(git:*)` is {"Bash": ("git:*",)}. `extra` keeps the keys
    that dockwright does not use. `sha256` is that of the file's bytes.
    """

    name: str
    description: str
    prompt: str
    tools: tuple[str, ...] | None = None
    disallowed_tools: tuple[str, ...] = ()
    rules: Mapping[str, tuple[str, ...]] = {}
    model: str = "inherit"
    max_turns: int | None = None
    effort: str | None = None
    color: str | None = None
    extra: Mapping[str, JsonValue] = {}
    path: Path
    sha256: str


def load(path: Path) -> Agent:
    """Raises ConfigError, naming file and line, where the file is no persona."""
    return loads(_bytes(path), path)


def loads(data: bytes, path: Path) -> Agent:
    """The persona in `data`; `path` is only named. Raises FileError, a ConfigError."""
    return _build(_read(data, path), data)


def find(name_or_path: str, folders: Sequence[Path]) -> Agent:
    """A path (with a slash, or ending in .md) is loaded. Anything else is a persona's name, in any case, looked up in
    the folders in order; a file of that name counts only where no persona has it. Raises ConfigError, also for a file
    that is named so and cannot be read: another persona of that name must not take its place unseen."""
    if name_or_path.endswith(".md") or os.sep in name_or_path:
        return load(Path(name_or_path))
    names: list[str] = []
    broken: list[ConfigError] = []
    for folder in folders:
        agents, errors = scan(folder)
        found = [agent for agent in agents if agent.name.casefold() == name_or_path.casefold()]
        if len(found) > 1:
            paths = ", ".join(str(agent.path) for agent in found)
            raise ConfigError(f"{len(found)} personas are named {name_or_path}: {paths}. Rename one, or pass a path.")
        if found:
            return found[0]
        for error in errors:
            if isinstance(error, FileError) and error.problems[0].path.stem.casefold() == name_or_path.casefold():
                raise error
        names += [agent.name for agent in agents]
        broken += errors
    if os.path.isfile(name_or_path):
        return load(Path(name_or_path))
    raise ConfigError(
        f"No persona is named {name_or_path}{nearest(name_or_path, names) or '.'} "
        f"{', '.join(map(str, folders))} has: {', '.join(sorted(set(names))) or 'none'}. "
        "Pass one of these names, or the path of a .md file." + "".join(f"\nNot readable: {error}" for error in broken)
    )


def folders(config: Path) -> tuple[Path, ...]:
    """Where personas are looked up by name: the user's own in `config`, then those that ship."""
    packed = Path(str(files("dockwright").joinpath("data", "agents")))
    checkout = Path(__file__).parents[2] / "agents"
    return (config / "agents", packed if packed.is_dir() else checkout)


def scan(folder: Path) -> tuple[tuple[Agent, ...], tuple[ConfigError, ...]]:
    """All personas in and below a folder, by path, and why others cannot be read. Files without front matter are
    documentation and left out; a missing folder is empty."""
    agents: list[Agent] = []
    errors: list[ConfigError] = []
    for path in sorted(folder.rglob("*.md")):
        try:
            data = _bytes(path)
            if data.removeprefix(frontmatter.BOM).startswith(b"---"):
                agents.append(loads(data, path))
        except ConfigError as error:
            errors.append(error)
    return tuple(agents), tuple(errors)


def resolve_tools(agent: Agent, known: Sequence[str]) -> tuple[str, ...]:
    """The only tools that the agent may use, in the persona's order. Names that are not in `known` are dropped.

    Raises ConfigError where tools were asked for and none is left, or where a specifier would not be enforced."""
    allowed = [tool for tool in known if not {tool, "*"} & set(agent.disallowed_tools)]
    if agent.tools is None:
        return tuple(allowed)
    tools = allowed if "*" in agent.tools else [tool for tool in dict.fromkeys(agent.tools) if tool in allowed]
    if agent.tools and not tools:
        raise ConfigError(
            f"The persona {agent.name} asks for {', '.join(agent.tools)}, and none of it can be used. Correct `tools` "
            f"or `disallowedTools` in {agent.path}; there are: {', '.join(known)}. Capitals count."
        )
    for tool in tools:
        if tool in agent.rules and tool not in RULED:
            raise ConfigError(
                f"{agent.path} allows {tool} only for {', '.join(agent.rules[tool])}, which dockwright cannot enforce. "
                f"Write {tool} without brackets or leave it out; brackets work for {', '.join(RULED)}."
            )
    return tuple(tools)


def lint(path: Path, known_tools: Sequence[str]) -> list[Problem]:
    """All that is wrong or odd with a persona file, by line. Raises ConfigError where it cannot be opened."""
    data = _bytes(path)
    try:
        document = _read(data, path)
    except FileError as error:
        return list(error.problems)
    problems = [*document.problems, *_key_problems(document)]
    try:
        problems += _tool_problems(document, _build(document, data), known_tools)
    except FileError as error:
        problems += error.problems
    if not document.body.strip():
        message = "There is no text below the front matter. Write the system prompt there."
        problems.append(Problem(path, len(document.lines) + 2, "warning", message))
    return sorted(problems, key=lambda problem: problem.line)


def _bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"The persona {path} is not a file. Pass the path of a Markdown file.")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"Reading the persona {path} failed: {error.strerror}. Check the path.") from error


def _read(data: bytes, path: Path) -> Document:
    return frontmatter.read(data, path, known=(*_USED, *_UNUSED), prose=_PROSE)


def _build(document: Document, data: bytes) -> Agent:
    if faults := tuple(_faults(document)):
        raise FileError(*faults)
    fields = document.fields
    texts = {key: str(fields[key].value).strip() for key in (*_TEXTS, "maxTurns") if key in fields}
    entries = [_entry(word) for word in _words(fields["tools"].value)] if "tools" in fields else None
    return Agent(
        name=texts["name"],
        description=texts["description"],
        prompt=document.body,
        tools=None if entries is None else tuple(dict.fromkeys(name for name, _ in entries)),
        disallowed_tools=tuple(_entry(word)[0] for word in _denied(document)),
        rules=_rules(entries or []),
        model=texts.get("model") or "inherit",
        max_turns=int(texts["maxTurns"]) if texts.get("maxTurns") else None,
        effort=texts.get("effort") or None,
        color=texts.get("color") or None,
        extra={key: _switch(key, field.value) for key, field in fields.items() if key not in _USED},
        path=document.path,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _faults(document: Document) -> Iterator[Problem]:
    """What keeps a file from being a persona."""
    fields = document.fields
    for key in ("name", "description"):
        if key not in fields or str(fields[key].value).strip() in ("", "[]", "{}"):
            yield document.problem(key, f"{key} is missing. Write `{key}: ...` in the front matter.")
    for key in _TEXTS:
        if key in fields and not isinstance(fields[key].value, str):
            yield document.problem(key, f"{key} is a {fields[key].kind}, not text. Put it in quotes.")
    if "name" in fields and (fault := _name_fault(fields["name"])):
        yield document.problem("name", fault)
    for key in _LISTS:
        value = fields[key].value if key in fields else ""
        if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            yield document.problem(key, f"{key} is no list of names. Write it as `{key}: Read, Write`.")
    if "maxTurns" in fields and not re.fullmatch(r"([1-9][0-9]{0,5})?", str(fields["maxTurns"].value).strip()):
        yield document.problem("maxTurns", f"maxTurns is {fields['maxTurns'].value}. Write a whole number above 0.")


def _name_fault(field: Field) -> str:
    name = str(field.value)
    if field.kind in ("int", "float") or (field.kind == "bool" and name.lower() in ("true", "false")):
        return f"name is the {field.kind} {name}, not text. Put it in quotes."
    if name.startswith("-") or ":" in name or not name.strip().isprintable():
        return f"name is {name!r}. Leave out colons, a leading `-` and what cannot be seen."
    return ""


def _words(value: JsonValue) -> list[str]:
    """The entries of a list, written as a YAML list or as text with commas; commas in brackets do not count."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value).strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    words, depth = [""], 0
    for char in text:
        depth = max(0, depth + (char == "(") - (char == ")"))
        if char in ",\n" and depth == 0:
            words.append("")
        else:
            words[-1] += char
    stripped = (frontmatter.unquoted(word.strip().removeprefix("- ").strip()) for word in words)
    return [word for word in stripped if word]


def _denied(document: Document) -> list[str]:
    return _words(document.fields["disallowedTools"].value) if "disallowedTools" in document.fields else []


def _entry(word: str) -> tuple[str, str | None]:
    """A tool and what stood in brackets behind it; `Bash(*)` and `Bash()` are the same as `Bash`."""
    if not (match := _RULED_ENTRY.fullmatch(word)):
        return word, None
    return match[1], match[2].strip() if match[2].strip() not in ("", "*") else None


def _rules(entries: Sequence[tuple[str, str | None]]) -> dict[str, tuple[str, ...]]:
    """Each entry is a grant: a tool that also stands there without brackets is not restricted."""
    free = {name for name, rule in entries if rule is None}
    return {
        name: tuple(rule for other, rule in entries if other == name and rule is not None)
        for name, _ in entries
        if name not in free
    }


def _switch(key: str, value: JsonValue) -> JsonValue:
    return _BOOLEANS.get(str(value).lower(), value) if key in _SWITCHES else value


def _key_problems(document: Document) -> Iterator[Problem]:
    for key in document.fields:
        if key in _UNUSED:
            yield document.problem(key, f"{key} is kept, but dockwright does not use it.", "warning")
        elif key not in _USED:
            near = nearest(key, (*_USED, *_UNUSED)) or "."
            yield document.problem(key, f"{key} is no known key{near} It is not used.")
    effort = str(document.fields["effort"].value) if "effort" in document.fields else ""
    if effort and effort not in _EFFORTS and not effort.isdigit():
        yield document.problem("effort", f"effort is {effort}. Write one of {', '.join(_EFFORTS)}.", "warning")


def _tool_problems(document: Document, agent: Agent, known: Sequence[str]) -> Iterator[Problem]:
    for key, names in (("tools", agent.tools or ()), ("disallowedTools", agent.disallowed_tools)):
        for name in names:
            if name in known or name == "*":
                continue
            if name in CLAUDE_CODE_TOOLS or name.startswith("mcp__"):
                yield document.problem(
                    key, f"{name} is a tool of Claude Code that is not offered here.", "warning", name
                )
            else:
                yield document.problem(key, f"{name} is no known tool{nearest(name, known) or '.'}", word=name)
    for word in _denied(document):
        if _entry(word)[1]:
            message = f"{word} takes {_entry(word)[0]} away altogether, whatever stands in brackets."
            yield document.problem("disallowedTools", message, "warning", word)
    if agent.tools == ():
        yield document.problem("tools", "tools is empty, so there is no tool. Remove the line to give all.", "warning")
    try:
        resolve_tools(agent, known)
    except ConfigError as error:
        yield document.problem("tools", str(error))
