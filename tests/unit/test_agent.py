"""Personas as they are found in the wild, byte by byte, and what is said about those that cannot be used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwright.agent import Agent, load, loads, resolve_tools
from dockwright.errors import ConfigError

WILD = Path(__file__).parent / "personas"
KNOWN = ("Read", "Write", "Edit", "MultiEdit", "Bash", "Grep", "Glob", "WebSearch")

NO_HEADER = "There is no front matter. Let the first line be `---`, with name and description below it."
NO_NAME = "name is missing. Write `name: ...` in the front matter."
NO_DESCRIPTION = "description is missing. Write `description: ...` in the front matter."
BAD_NAME = "Leave out colons, a leading `-` and what cannot be seen."


def nothing_left(tools: str, path: str) -> str:
    return (
        f"The persona a asks for {tools}, and none of it can be used. Correct `tools` or `disallowedTools` in {path}; "
        "there are: Read, Write, Edit, MultiEdit, Bash, Grep, Glob, WebSearch. Capitals count."
    )


LOADED: dict[str, dict[str, Any]] = {
    "long-description.md": {
        "name": "migration-reviewer",
        "description": "Use this agent when: a schema migration was written and somebody should look at it before it "
        "runs. Examples:\n\nContext: A developer has just added a column.\n"
        'user: "I added a NOT NULL column to orders, can you check it?"\n'
        'assistant: "I will hand that to the migration-reviewer."\n'
        "<example>\nContext: The table is large: 80 million rows.\nuser: 'Will this lock the table?'\n"
        "<commentary>\nLocks are its subject: use it at once.\n</commentary>\n</example>",
        "prompt": "\nYou read migrations the way a locksmith reads a door.\n",
        "tools": ("Glob", "Grep", "LS", "Read", "NotebookRead", "TodoWrite"),
        "model": "opus",
        "color": "magenta",
    },
    "crlf.md": {
        "name": "api-tester",
        "description": "Calls every route and says which of them lie",
        "prompt": "# API tester\r\n\r\nCall it. Then believe it.\r\n",
        "tools": ("Bash", "Read"),
    },
    "bom.md": {
        "name": "schriftführer",
        "description": "Schreibt auf, was beschlossen wurde – kurz",  # noqa: RUF001 - as in the file
        "prompt": "Schreibe Protokolle.\n",
    },
    "tabs.md": {
        "name": "cache-doctor",
        "description": "Finds what should be cached, and what should never have been",
        "prompt": "Measure first.\n",
        "tools": ("Read", "Grep", "Bash"),
        "max_turns": 12,
    },
    "block.md": {
        "name": "queue-plumber",
        "description": "Designs queues and workers.\n\nUse when: jobs pile up, or run twice.",
        "prompt": "A job may run twice. Make that harmless.\n",
        "tools": ("Read", "Write", "Bash"),
        "model": "claude-opus-5-5",
    },
    "star.md": {
        "name": "generalist",
        "description": "Does what is left over",
        "prompt": "Do what is left over.\n",
        "tools": ("*",),
        "extra": {"version": "2"},
    },
    "rules.md": {
        "name": "release-clerk",
        "description": "Tags releases and nothing else",
        "prompt": "Tag what was agreed on.\n",
        "tools": ("Read", "Bash", "mcp__tracker__search", "Task"),
        "disallowed_tools": ("Write", "Bash"),
        "rules": {"Bash": ("git tag:*", "git log *")},
    },
    "dashes.md": {
        "name": "the quiet one",
        "description": "Thinks, and touches nothing",
        "prompt": "First part.\n\n---\n\nname: not a field any more\n---\nLast part, without a newline",
        "tools": (),
    },
    "quotes.md": {
        "name": "Incident Commander",
        "description": 'Use "calmly" when <alert severity="1"> fires: it never blames',
        "prompt": "Stop the bleeding. Then look for the knife.\n",
        "tools": ("Read", "Bash"),
        "color": "red",
    },
    "everything.md": {
        "name": "on",
        "description": "1.10",
        "prompt": "All of it.\n",
        "tools": ("Read", "Agent"),
        "disallowed_tools": ("WebSearch",),
        "rules": {"Agent": ("scout, scribe",)},
        "effort": "high",
        "color": "cyan",
        "max_turns": 40,
        "extra": {
            "permissionMode": "plan",
            "skills": ["sql-style", "runbooks"],
            "mcpServers": ["tracker", {"notes": {"command": "notes-server", "args": ["--port", "8000"]}}],
            "hooks": {
                "PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "command", "command": "./check.sh"}]}],
            },
            "memory": "project",
            "background": True,
            "omitClaudeMd": False,
            "isolation": "worktree",
            "initialPrompt": "Begin.",
            "experimental": {"cacheTtl": "1h"},
        },
    },
}


@pytest.mark.parametrize("name", LOADED)
def test_a_wild_persona_loads_as_its_author_meant_it(name: str) -> None:
    path = WILD / name
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load(path) == Agent(**LOADED[name], path=path, sha256=sha256)


def test_every_wild_persona_is_tested() -> None:
    assert {path.name for path in WILD.glob("*.md")} == set(LOADED)


def test_the_body_is_the_file_from_behind_the_front_matter_on() -> None:
    data = b"---\nname: a\ndescription: b\n--- \r\n\r\n\tx\xc2\xa0 \n\n"
    assert loads(data, Path("a.md")).prompt.encode() == b"\r\n\tx\xc2\xa0 \n\n"


@pytest.mark.parametrize(
    ("header", "tools", "rules"),
    [
        ("", None, {}),
        ("tools: Read, Write,Bash", ("Read", "Write", "Bash"), {}),
        ("tools:\n- Read\n- Bash", ("Read", "Bash"), {}),
        ("tools:\n  - Read\n  - 'Bash'", ("Read", "Bash"), {}),
        ("tools: [Read, Bash]", ("Read", "Bash"), {}),
        ("tools: *", ("*",), {}),
        ("tools: '*'", ("*",), {}),
        ("tools: [*]", ("*",), {}),
        ("tools:", (), {}),
        ("tools: []", (), {}),
        ("tools: ~", (), {}),
        ('tools: ""', (), {}),
        ("tools: Read, Read", ("Read",), {}),
        ("tools: Bash(git:*)", ("Bash",), {"Bash": ("git:*",)}),
        ("tools: [Bash(git:*), Read]", ("Bash", "Read"), {"Bash": ("git:*",)}),
        ("tools: Bash(npm run test: *), Read", ("Bash", "Read"), {"Bash": ("npm run test: *",)}),
        ("tools: Bash(echo a, b), Read", ("Bash", "Read"), {"Bash": ("echo a, b",)}),
        ("tools: Bash(a (b, c)), Read", ("Bash", "Read"), {"Bash": ("a (b, c)",)}),
        ("tools: Bash, Bash(git:*)", ("Bash",), {}),
        ("tools: Bash(*), Read()", ("Bash", "Read"), {}),
        ("tools: Bash(git, Read", ("Bash(git, Read",), {}),
        ("tools:\n\t- Read\n\t- Bash(git:*)", ("Read", "Bash"), {"Bash": ("git:*",)}),
        ("tools: @all, Read", ("@all", "Read"), {}),
    ],
)
def test_tools_are_read_in_all_their_spellings(
    header: str, tools: tuple[str, ...] | None, rules: dict[str, tuple[str, ...]]
) -> None:
    persona = loads(f"---\nname: a\ndescription: b\n{header}\n---\nx".encode(), Path("a.md"))
    assert (persona.tools, persona.rules) == (tools, rules)


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ("plain words", "plain words"),
        ("123", "123"),
        ("off", "off"),
        (">\n  folded\n  words", "folded words"),
        ("|\n\ttabs: too\n\tsecond line", "tabs: too\nsecond line"),
        ("use when: needed", "use when: needed"),
        ("*stars* first", "*stars* first"),
        ('"half" a quote: here', '"half" a quote: here'),
        ('"\\UFFFFFFFF"', "\\UFFFFFFFF"),
        ('"\\uD800"', "\\uD800"),
        ("&a [*a]", "&a [*a]"),
        ("[" * 500, "[" * 500),
        ("text: with\nTools: Read", "text: with\nTools: Read"),
    ],
)
def test_a_description_is_text_whatever_yaml_thinks_of_it(description: str, text: str) -> None:
    data = f"---\nname: a\ndescription: {description}\ncolor: blue\n---\nx".encode()
    assert loads(data, Path("a.md")).description == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "p.md:1: " + NO_HEADER),
        (b"\n---\nname: a\n---\n", "p.md:1: " + NO_HEADER),
        (b"---\nname: a\ndescription: b\n", "p.md:1: The front matter does not end. Close it with a line `---`."),
        (b"---\nname: a\ndescription: \xff\n---\n", "p.md:3: The file is not UTF-8. Save it as UTF-8."),
        (b"---\n---\nx", f"p.md:1: {NO_NAME}\np.md:1: {NO_DESCRIPTION}"),
        (b"---\ndescription:\nname: a\n---\n", "p.md:2: " + NO_DESCRIPTION),
        (b"---\ndescription: b\nname: 123\n---\n", "p.md:3: name is the int 123, not text. Put it in quotes."),
        (b"---\ndescription: b\nname: true\n---\n", "p.md:3: name is the bool true, not text. Put it in quotes."),
        (b"---\ndescription: b\nname: [a]\n---\n", "p.md:3: name is a seq, not text. Put it in quotes."),
        (b"---\ndescription: b\nname: a:b\n---\n", "p.md:3: name is 'a:b'. " + BAD_NAME),
        (b"---\ndescription: b\nname: -a\n---\n", "p.md:3: name is '-a'. " + BAD_NAME),
        ("---\ndescription: b\nname: a\u202eb\n---\n".encode(), "p.md:3: name is 'a\\u202eb'. " + BAD_NAME),
        (
            b"---\nname: a\ndescription: b\ntools: {Read: yes}\n---\n",
            "p.md:4: tools is no list of names. Write it as `tools: Read, Write`.",
        ),
        (
            b"---\nname: a\ndescription: b\nmaxTurns: many\n---\n",
            "p.md:4: maxTurns is many. Write a whole number above 0.",
        ),
        (b"---\nname: a\ndescription: b\nmodel: [opus]\n---\n", "p.md:4: model is a seq, not text. Put it in quotes."),
        (
            b"---\nname: a\ntools: Read\ndescription: b\ntools: Bash\n---\n",
            "p.md:3: tools is given twice, here and in line 5. Remove one, or indent it if it is text.",
        ),
        (b"---\njust words\n---\n", f"p.md:1: {NO_NAME}\np.md:1: {NO_DESCRIPTION}"),
    ],
)
def test_a_file_that_is_no_persona_is_refused_by_line(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(data, Path("p.md"))
    assert str(caught.value) == message


_bits = st.sampled_from(
    ["---\n", "---", "name: a\n", "description: b\n", "tools: ", "\t- Bash(", "*", "|", "\r\n", "&a *a", "\x00", "[",
     "{", '"\\U', "\udcff", "💥", "%YAML ", "9" * 5000, "!!python/object", "maxTurns: ", "? ", ": ", "\u2028", "#"]
)  # fmt: skip


@given(st.binary() | st.lists(_bits | st.text(max_size=3), max_size=12).map(lambda bits: _header("".join(bits))))
def test_arbitrary_bytes_load_or_are_refused(data: bytes) -> None:
    try:
        persona = loads(data, Path("p.md"))
    except ConfigError:
        return
    assert Agent.model_validate_json(persona.model_dump_json()) == persona


def _header(text: str) -> bytes:
    return f"---\nname: a\ndescription: b\n{text}\n---\nbody".encode(errors="surrogateescape")


def _persona(tools: tuple[str, ...] | None, disallowed: tuple[str, ...] = (), **more: Any) -> Agent:
    return Agent(
        name="a",
        description="b",
        prompt="c",
        tools=tools,
        disallowed_tools=disallowed,
        path=Path("a.md"),
        sha256="",
        **more,
    )


@pytest.mark.parametrize(
    ("persona", "tools"),
    [
        (_persona(None), KNOWN),
        (_persona(("*",)), KNOWN),
        (_persona(()), ()),
        (_persona(("Grep", "Nonsense", "Read")), ("Grep", "Read")),
        (_persona(None, ("Bash", "Write")), ("Read", "Edit", "MultiEdit", "Grep", "Glob", "WebSearch")),
        (_persona(("Read", "Bash"), ("Bash",)), ("Read",)),
        (_persona(("*", "Read"), ("Read",)), KNOWN[1:]),
        (_persona(None, ("*",)), ()),
        (_persona(("Bash",), rules={"Bash": ("git:*",)}), ("Bash",)),
        (_persona(("Bash", "Agent"), rules={"Agent": ("scout",)}), ("Bash",)),
    ],
)
def test_the_tools_of_an_agent_are_a_hard_list(persona: Agent, tools: tuple[str, ...]) -> None:
    assert resolve_tools(persona, KNOWN) == tools


@pytest.mark.parametrize(
    ("persona", "message"),
    [
        (
            _persona(("read", "bash")),
            nothing_left("read, bash", "a.md"),
        ),
        (
            _persona(("Read",), ("Read",)),
            nothing_left("Read", "a.md"),
        ),
        (
            _persona(("Read",), rules={"Read": ("src/**",)}),
            (
                "a.md allows Read only for src/**, which dockwright cannot enforce. "
                "Write Read without brackets or leave it out; brackets work for Bash."
            ),
        ),
    ],
)
def test_a_tool_list_that_gives_nothing_or_cannot_be_enforced_is_refused(persona: Agent, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_tools(persona, KNOWN)
    assert str(caught.value) == message
