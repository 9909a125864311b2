"""Where personas are looked up, and what lint says about a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockwright import agent
from dockwright.agent import find, folders, lint, load, scan
from dockwright.errors import ConfigError

WILD = Path(__file__).parent / "personas"
SHIPPED = Path(__file__).parents[2] / "agents" / "backend-engineer.md"
KNOWN = ("Read", "Write", "Edit", "MultiEdit", "Bash", "Grep", "Glob", "WebSearch")

NO_HEADER = "There is no front matter. Let the first line be `---`, with name and description below it."
NO_DESCRIPTION = "description is missing. Write `description: ...` in the front matter."


def nothing_left(tools: str, path: str) -> str:
    return (
        f"The persona a asks for {tools}, and none of it can be used. Correct `tools` or `disallowedTools` in {path}; "
        "there are: Read, Write, Edit, MultiEdit, Bash, Grep, Glob, WebSearch. Capitals count."
    )


def not_yaml(why: str) -> str:
    return f"This is not YAML ({why}) and was read line by line. Quote the value, or write it below a `|`."


def _write(folder: Path, name: str, persona: str, description: str = "d") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\nname: {persona}\ndescription: {description}\n---\nbody\n")
    return path


def test_a_persona_is_found_by_name_in_any_case_and_below_folders_in_order(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    first = _write(mine, "deep/down/x.md", "Scout")
    _write(theirs, "scout.md", "scout")
    second = _write(theirs, "other.md", "Data Miner")
    assert [find(name, (mine, theirs, tmp_path / "missing")).path for name in ("sCOUT", "data miner")] == [
        first,
        second,
    ]


def test_a_path_is_loaded_and_a_file_in_the_working_directory_never_shadows_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = _write(tmp_path / "agents", "scout.md", "scout")
    for name in ("scout", "scribe", "x.md"):
        _write(tmp_path / "repo", name, "planted")
    monkeypatch.chdir(tmp_path / "repo")
    found = [find(name, (tmp_path / "agents",)).path for name in ("scout", "./scout", "scribe", "x.md")]
    assert found == [known, Path("scout"), Path("scribe"), Path("x.md")]


def test_an_unknown_name_is_answered_with_the_names_there_are(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", "backend-engineer")
    _write(tmp_path, "b.md", "scout")
    (tmp_path / "README.md").write_text("# Personas\n")
    (tmp_path / "c.md").write_text("---\nname: c\n---\n")
    with pytest.raises(ConfigError) as caught:
        find("backend-enginer", (tmp_path,))
    assert str(caught.value) == (
        f"No persona is named backend-enginer; did you mean backend-engineer? {tmp_path} has: backend-engineer, scout. "
        "Pass one of these names, or the path of a .md file.\n"
        f"Not readable: {tmp_path}/c.md:1: description is missing. Write `description: ...` in the front matter."
    )


def test_a_broken_file_of_that_name_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "Scout.md").write_text("---\nname: scout\n---\n")
    _write(tmp_path / "theirs", "scout.md", "scout")
    with pytest.raises(ConfigError) as caught:
        find("scout", (tmp_path / "mine", tmp_path / "theirs"))
    assert str(caught.value) == f"{tmp_path}/mine/Scout.md:1: {NO_DESCRIPTION}"


def test_one_name_twice_in_a_folder_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", "scout")
    _write(tmp_path, "b/b.md", "Scout")
    with pytest.raises(ConfigError) as caught:
        find("scout", (tmp_path,))
    assert str(caught.value) == (
        f"2 personas are named scout: {tmp_path}/a.md, {tmp_path}/b/b.md. Rename one, or pass a path."
    )


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    for name in ("pipe.md", ""):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == f"The persona {tmp_path / name} is not a file. Pass the path of a Markdown file."
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.md")
    assert str(caught.value) == (
        f"Reading the persona {tmp_path}/none.md failed: No such file or directory. Check the path."
    )


def test_the_personas_that_ship_are_found_after_the_users_own(tmp_path: Path) -> None:
    assert folders(tmp_path) == (tmp_path / "agents", SHIPPED.parent)
    assert find("Backend-Engineer", folders(tmp_path)) == load(SHIPPED)
    mine = _write(tmp_path / "agents", "mine.md", "backend-engineer")
    assert find("backend-engineer", folders(tmp_path)).path == mine


def test_scan_lists_personas_and_what_keeps_others_from_loading(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.md", "scout")
    (tmp_path / "README.md").write_text("# Not a persona\n")
    (tmp_path / "b.md").write_text("---\nname: b\n")
    agents, errors = scan(tmp_path)
    assert agents == (load(path),)
    assert [str(error) for error in errors] == [
        f"{tmp_path}/b.md:1: The front matter does not end. Close it with a line `---`."
    ]


def test_the_persona_that_ships_is_without_a_fault() -> None:
    assert lint(SHIPPED, KNOWN) == []
    persona = load(SHIPPED)
    assert (persona.name, persona.tools, persona.color, persona.model) == (
        "backend-engineer",
        KNOWN,
        "orange",
        "inherit",
    )


LINTED: dict[str, list[tuple[int, str, str]]] = {
    "long-description.md": [
        (3, "warning", not_yaml("mapping values are not allowed here")),
        (17, "warning", "LS is a tool of Claude Code that is not offered here."),
        (17, "warning", "NotebookRead is a tool of Claude Code that is not offered here."),
        (17, "warning", "TodoWrite is a tool of Claude Code that is not offered here."),
    ],
    "crlf.md": [],
    "bom.md": [],
    "block.md": [],
    "tabs.md": [
        (5, "warning", not_yaml("found character '\\t' that cannot start any token")),
    ],
    "star.md": [
        (3, "error", "version is no known key. It is not used."),
        (4, "warning", not_yaml("expected alphabetic or numeric character, but found '\\n'")),
    ],
    "dashes.md": [(4, "warning", "tools is empty, so there is no tool. Remove the line to give all.")],
    "rules.md": [
        (4, "warning", "mcp__tracker__search is a tool of Claude Code that is not offered here."),
        (4, "warning", "Task is a tool of Claude Code that is not offered here."),
        (5, "warning", "Bash(rm:*) takes Bash away altogether, whatever stands in brackets."),
    ],
    "everything.md": [
        (7, "warning", "Agent is a tool of Claude Code that is not offered here."),
        *[
            (line, "warning", f"{key} is kept, but dockwright does not use it.")
            for line, key in [
                (13, "permissionMode"), (14, "skills"), (15, "mcpServers"), (18, "hooks"), (22, "memory"),
                (23, "background"), (24, "omitClaudeMd"), (25, "isolation"), (26, "initialPrompt"),
                (27, "experimental"),
            ]
        ],
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", LINTED)
def test_lint_names_each_oddity_of_a_wild_persona_by_line(name: str) -> None:
    found = [(problem.line, problem.severity, problem.message) for problem in lint(WILD / name, KNOWN)]
    assert found == LINTED[name]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (
            b"---\nname: a\ndescription: b\ntools: Read, Wrtie\n---\nx",
            [(4, "error", "Wrtie is no known tool; did you mean Write?")],
        ),
        (
            b"---\nname: a\ndescription: b\ntools:\n  - Read\n  - bash\n---\nx",
            [(6, "error", "bash is no known tool; did you mean Bash?")],
        ),
        (
            b"---\nname: a\ndescription: b\ntool: Read\n---\nx",
            [(4, "error", "tool is no known key; did you mean tools? It is not used.")],
        ),
        (
            b"---\nname: a\n---\nx",
            [(1, "error", NO_DESCRIPTION)],
        ),
        (
            b"---\nname: 7\ndescription: b\ncolour: red\n---\nx",
            [
                (2, "error", "name is the int 7, not text. Put it in quotes."),
                (4, "error", "colour is no known key; did you mean color? It is not used."),
            ],
        ),
        (
            b"---\nname: a\ndescription: b\ntools: Zip\n---\nx",
            [
                (4, "error", "Zip is no known tool."),
                (4, "error", nothing_left("Zip", "{path}")),
            ],
        ),
        (
            b"---\nname: a\ndescription: b\neffort: extreme\n---\n \n",
            [
                (4, "warning", "effort is extreme. Write one of low, medium, high, xhigh, max."),
                (5, "warning", "There is no text below the front matter. Write the system prompt there."),
            ],
        ),
        (
            b"no front matter",
            [(1, "error", NO_HEADER)],
        ),
    ],
)  # fmt: skip
def test_lint_names_line_word_and_remedy(tmp_path: Path, data: bytes, found: list[tuple[int, str, str]]) -> None:
    path = tmp_path / "p.md"
    path.write_bytes(data)
    assert [(p.path, p.line, p.severity, p.message) for p in lint(path, KNOWN)] == [
        (path, line, severity, message.replace("{path}", str(path))) for line, severity, message in found
    ]


def test_every_tool_of_ours_is_one_of_claude_codes() -> None:
    assert set(KNOWN) < agent.CLAUDE_CODE_TOOLS
