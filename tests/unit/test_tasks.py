"""Task files: what each format says, and every mistake at once with its line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dockwright import agent
from dockwright.agent import Agent
from dockwright.errors import ConfigError
from dockwright.proof import Demands
from dockwright.tasks import Defaults, ListedTask, read_tasks
from dockwright.tasks.fields import KEYS

PERSONA = "---\nname: {0}\ndescription: builds things\n---\nYou are {0}.\n"
HEAD = "The task file cannot be used, so nothing was started."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with repositories, a long prompt and personas."""
    for name in ("api", "shop", "personas"):
        (tmp_path / name).mkdir()
    for name in ("smith", "mason"):
        (tmp_path / f"personas/{name}.md").write_text(PERSONA.format(name))
    (tmp_path / "long.md").write_text("Add health checks.\n\nAll of them.\n")
    (tmp_path / "blank.md").write_text(" \n")
    return tmp_path


def persona(folder: Path, name: str) -> Agent:
    return agent.find(name, [folder / "personas"])


def read(folder: Path, name: str, text: str | bytes) -> tuple[ListedTask, ...]:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    defaults = Defaults(folder / "api", persona(folder, "smith"), checks=("make test",))
    return read_tasks(path, defaults, lambda name: persona(folder, name))


def mistakes(folder: Path, name: str, text: str | bytes) -> list[str]:
    """The lines of the error, with the folder left out."""
    with pytest.raises(ConfigError) as caught:
        read(folder, name, text)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


JSON_LINES = """\
{"id": "health", "prompt_file": "long.md", "repo": "shop", "agent": "mason", "model": "opus", "check": "make check"}

{"id": "7", "prompt": "Add a login.", "agent": "personas/mason.md", "check": ["pytest -q", "ruff check ."],\
 "image": "python:3.12", "net": ["pkg.example", "db.example.org:5432"], "turns": 20, "budget": 1.5, "minutes": 30,\
 "deliver": "patch", "tags": ["auth", "slow"], "metadata": {"ticket": 7, "urgent": true, "since": null}}
{"id": "bare", "prompt": "Do it.", "check": [], "model": null}
"""
YAML = """\
- id: health
  prompt_file: long.md
  repo: shop
  agent: mason
  model: opus
  check: make check

- id: 7
  prompt: Add a login.
  agent: personas/mason.md
  check:
    - pytest -q
    - ruff check .
  image: python:3.12
  net: [pkg.example, db.example.org:5432]
  turns: 20
  budget: 1.5
  minutes: 30
  deliver: patch
  tags: [auth, slow]
  metadata: {ticket: 7, urgent: true, since: null}
- id: bare
  prompt: Do it.
  check: []
  model:
"""
CSV = """\
id,prompt,prompt_file,repo,agent,model,check,image,net,turns,budget,minutes,deliver,tags,metadata\r
health,,long.md,shop,mason,opus,make check,,,,,,,,\r
7,Add a login.,,,personas/mason.md,,"pytest -q
ruff check .",python:3.12,"pkg.example
db.example.org:5432",20,1.5,30,patch,"auth
slow","{""ticket"": 7, ""urgent"": true, ""since"": null}"\r
bare,Do it.,,,,,,,,,,,,,\r
"""


def wanted(folder: Path) -> tuple[ListedTask, ...]:
    health = ListedTask(
        id="health", line=1, prompt="Add health checks.\n\nAll of them.\n", repo=folder / "shop",
        agent=persona(folder, "mason"), model="opus", checks=("make check",),
    )  # fmt: skip
    login = ListedTask(
        id="7", line=3, prompt="Add a login.", repo=folder / "api", agent=persona(folder, "mason"),
        checks=("pytest -q", "ruff check ."), image="python:3.12", net=("pkg.example", "db.example.org:5432"), turns=20,
        budget=1.5, minutes=30.0, deliver="patch", tags=("auth", "slow"),
        metadata={"ticket": 7, "urgent": True, "since": None},
    )  # fmt: skip
    bare = ListedTask(id="bare", line=4, prompt="Do it.", repo=folder / "api", agent=persona(folder, "smith"))
    return health, login, bare


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [("t.jsonl", JSON_LINES, (1, 3, 4)), ("t.yaml", YAML, (1, 8, 22)), ("t.csv", CSV, (2, 3, 7))],
)
def test_each_format_says_the_same(folder: Path, name: str, text: str, lines: tuple[int, ...]) -> None:
    tasks = [replace(task, line=line) for task, line in zip(wanted(folder), lines, strict=True)]
    if name == "t.csv":  # an empty cell is not given, so no check cannot be asked for
        tasks[2] = replace(tasks[2], checks=("make test",))

    assert read(folder, name, text) == tuple(tasks)


def test_yaml_defaults_stand_between_the_flags_and_the_task(folder: Path) -> None:
    text = """\
defaults:
  prompt: Upgrade to SQLAlchemy 2.
  agent: mason
  check: make check
  turns: 5
tasks:
  - repo: shop
  - repo: api
    agent: smith
    check: [a, b]
    turns: 9
    prompt_file: long.md
"""
    smith, mason = persona(folder, "smith"), persona(folder, "mason")
    assert read(folder, "t.yml", text) == (
        ListedTask(
            id="task-001", line=7, prompt="Upgrade to SQLAlchemy 2.", repo=folder / "shop", agent=mason,
            checks=("make check",), turns=5,
        ),
        ListedTask(
            id="task-002", line=8, prompt="Add health checks.\n\nAll of them.\n", repo=folder / "api", agent=smith,
            checks=("a", "b"), turns=9,
        ),
    )  # fmt: skip


def test_scalars_are_the_text_they_were_written_as(folder: Path) -> None:
    (task,) = read(folder, "t.yaml", "- {id: 007, prompt: no, model: 1.10, tags: [on, 2026-01-01], check: 'true'}\n")

    assert (task.id, task.prompt, task.model, task.tags, task.checks) == (
        "007", "no", "1.10", ("on", "2026-01-01"), ("true",),
    )  # fmt: skip


def test_a_byte_order_mark_is_no_part_of_the_first_key(folder: Path) -> None:
    assert read(folder, "t.csv", b"\xef\xbb\xbfprompt\nDo it.\n")[0].prompt == "Do it."
    assert read(folder, "t.jsonl", b'\xef\xbb\xbf{"prompt": "Do it."}')[0].prompt == "Do it."
    assert read(folder, "t.yaml", b"\xef\xbb\xbf- prompt: Do it.\n")[0].prompt == "Do it."


def test_what_the_work_depends_on_changes_the_hash_and_nothing_else_does(folder: Path) -> None:
    task = wanted(folder)[0]
    same = replace(task, id="other", line=9, tags=("x",), metadata={"a": 1})
    others = [
        replace(task, prompt="x"), replace(task, repo=folder / "api"), replace(task, agent=persona(folder, "smith")),
        replace(task, model="x"), replace(task, checks=()), replace(task, image="x"), replace(task, net=("none",)),
        replace(task, turns=1), replace(task, budget=1.0), replace(task, minutes=1.0), replace(task, deliver="none"),
        replace(task, repairs=1), replace(task, proof=Demands(baseline=True)),
    ]  # fmt: skip

    assert same.sha256 == task.sha256
    assert len({task.sha256, *(other.sha256 for other in others)}) == 14


MISTAKES: dict[str, tuple[str, str | bytes, list[str]]] = {
    "unknown keys, with the nearest known one": (
        "t.jsonl",
        '{"promt": "x", "prompt": "x"}\n{"prompt": "x", "xyz": 1}\n',
        [
            "t.jsonl:1: there is no key 'promt'; did you mean prompt?",
            f"t.jsonl:2: there is no key 'xyz'; there are {', '.join(KEYS)}",
        ],
    ),
    "each bad line of JSON": (
        "t.jsonl",
        '{"prompt": "x"}\n{"prompt" "x"}\n[1]\n# note\n{"prompt": "x", "prompt": "y"}\n{"budget": NaN}\n' + "[" * 99999,
        [
            "t.jsonl:2: this is not JSON: Expecting ':' delimiter at column 11",
            "t.jsonl:3: this is no JSON object",
            "t.jsonl:4: this is not JSON: Expecting value at column 1",
            "t.jsonl:5: 'prompt' is given twice",
            "t.jsonl:6: NaN is no JSON value",
            "t.jsonl:7: this is JSON nested too deep",
        ],
    ),
    "every field of a task": (
        "t.yaml",
        """\
- id: a/b
  prompt: " "
  repo: gone
  agent: nobody
  model: [x]
  check: [make, ""]
  image: ""
  net: ["not a host!", none]
  turns: many
  budget: -1
  minutes: .inf
  deliver: mail
  metadata: 7
""",
        [
            "t.yaml:1: id: 'a/b' cannot name a folder; take A-Z a-z 0-9 . _ - (100 at most), a letter or digit first",
            "t.yaml:2: prompt: it is empty",
            "t.yaml:3: repo: there is no folder gone",
            (
                "t.yaml:4: agent: No persona is named nobody. personas has: mason, smith. "
                "Pass one of these names, or the path of a .md file."
            ),
            't.yaml:5: model: text was expected, not ["x"]',
            "t.yaml:6: check: it is empty",
            "t.yaml:7: image: it is empty",
            "t.yaml:8: net: not a host!: neither none, public nor a HOST or HOST:PORT to allow.",
            (
                't.yaml:9: turns: "many" is not accepted: '
                "Input should be a valid integer, unable to parse string as an integer"
            ),
            't.yaml:10: budget: "-1" is not accepted: Input should be greater than 0',
            (
                't.yaml:11: minutes: ".inf" is not accepted: '
                "Input should be a valid number, unable to parse string as a number"
            ),
            "t.yaml:12: deliver: \"mail\" is not accepted: Input should be 'branch', 'patch' or 'none'",
            "t.yaml:13: metadata: 7 is not accepted: Input should be a valid dictionary",
        ],
    ),
    "values of another type in JSON": (
        "t.jsonl",
        (
            '{"id": 7, "prompt": "x"}\n{"id": "b", "prompt": true}\n{"id": "c", "prompt": "x", "turns": true}\n'
            '{"id": "d", "prompt": "x\\u0000"}\n{"id": "e", "prompt": "\\ud800"}\n'
        ),
        [
            "t.jsonl:1: id: text was expected, not 7",
            "t.jsonl:2: prompt: text was expected, not true",
            "t.jsonl:3: turns: a number was expected, not true",
            "t.jsonl:4: prompt: it holds a character that is no text",
            "t.jsonl:5: prompt: it holds a character that is no text",
        ],
    ),
    "ids that would share a folder": (
        "t.csv",
        "id,prompt\na,x\nb,x\nA,x\na,x\nresults.jsonl,x\n",
        [
            "t.csv:4: id: 'A' is taken by line 2",
            "t.csv:5: id: 'a' is taken by line 2",
            (
                "t.csv:6: id: 'results.jsonl' cannot name a folder; "
                "take A-Z a-z 0-9 . _ - (100 at most), a letter or digit first"
            ),
        ],
    ),
    "ids that only some tasks have": (
        "t.jsonl",
        '{"prompt": "x"}\n{"prompt": "x", "id": "a"}\n',
        ["t.jsonl:1: there is no id, but other tasks have one; give one to all or to none"],
    ),
    "prompts that are missing, given twice, or not to be read": (
        "t.yaml",
        (
            "- repo: api\n- prompt: x\n  prompt_file: long.md\n- prompt_file: gone.md\n- prompt_file: blank.md\n"
            "- prompt_file: api\n"
        ),
        [
            "t.yaml:1: there is no prompt; say what is to be done in `prompt`, or name a file with it in `prompt_file`",
            "t.yaml:3: `prompt` and `prompt_file` are both given; keep one",
            "t.yaml:4: prompt_file: reading gone.md failed: No such file or directory",
            "t.yaml:5: prompt_file: it is empty",
            "t.yaml:6: prompt_file: reading api failed: Is a directory",
        ],
    ),
    "defaults, once and at their own line": (
        "t.yaml",
        "defaults:\n  id: a\n  repo: gone\n  check: x\n  check: y\ntasks:\n  - prompt: x\n  - prompt: y\nmore: 1\n",
        [
            "t.yaml:2: id: tasks cannot share one",
            "t.yaml:3: repo: there is no folder gone",
            "t.yaml:5: 'check' is given twice",
            "t.yaml:9: there is no section 'more'; there are defaults and tasks",
        ],
    ),
    "sections and items that are none": (
        "t.yaml",
        "defaults: [a]\ntasks:\n  - Add a login.\n  - prompt: x\ntasks: all\n",
        [
            "t.yaml:1: `defaults` has no keys",
            "t.yaml:3: this is no task; write its keys, as in `- prompt: ...`",
            "t.yaml:5: 'tasks' is given twice",
            "t.yaml:5: `tasks` is no list",
        ],
    ),
    "bad YAML": (
        "t.yaml",
        "- prompt: x\n- prompt: 'y\n",
        ["t.yaml:3: this is not YAML: found unexpected end of stream"],
    ),
    "aliases": (
        "t.yaml",
        "- &a\n  prompt: x\n- *a\n",
        ["t.yaml:3: this is not YAML: aliases are not taken; share by `defaults`"],
    ),
    "control characters": (
        "t.yaml",
        "- prompt: x\n- prompt: \x07\n",
        ["t.yaml:2: this is not YAML: special characters are not allowed"],
    ),
    "a file nested too deep": ("t.yaml", "[" * 5000, ["t.yaml:1: this is YAML nested too deep"]),
    "a file that is one word": ("t.yaml", "word", ["t.yaml:1: this is no list of tasks"]),
    "the header and the rows of CSV": (
        "t.csv",
        'prompt,prmpt,turns,turns\n"x\ny",,,\nx,1\n\nz,,0,0\n"unclosed,,,\n',
        [
            "t.csv:1: there is no key 'prmpt'; did you mean prompt?",
            "t.csv:1: 'turns' is given twice",
            "t.csv:4: this line has 2 cells, but the header has 4",
            't.csv:6: turns: "0" is not accepted: Input should be greater than 0',
            "t.csv:7: this is not CSV: unexpected end of data",
        ],
    ),
    "metadata in CSV that is no JSON object": (
        "t.csv",
        "prompt,metadata\nx,{a\ny,[1]\n",
        [
            "t.csv:2: metadata: this is not JSON: Expecting property name enclosed in double quotes at column 2",
            "t.csv:3: metadata: [1] is not accepted: Input should be a valid dictionary",
        ],
    ),
    "another encoding": ("t.csv", b"prompt\nx\n\xe4\n", ["t.csv:3: this is not UTF-8; save the file as UTF-8"]),
    "no task": ("t.jsonl", "\n\n", ["t.jsonl:1: there is no task in it"]),
    "no task in YAML": ("t.yaml", "tasks: []\n", ["t.yaml:1: there is no task in it"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_all_mistakes_are_told_at_once_by_line(folder: Path, case: str) -> None:
    name, text, told = MISTAKES[case]

    assert mistakes(folder, name, text) == [HEAD, *told]


def test_a_file_of_another_kind_is_refused_by_its_name(folder: Path) -> None:
    assert mistakes(folder, "t.toml", "") == [
        "The name of t.toml does not say what kind of task file it is. Name it *.jsonl, *.json, *.yaml, *.yml, *.csv."
    ]


def test_a_missing_file_and_a_missing_default_repository_are_said(folder: Path) -> None:
    smith = persona(folder, "smith")
    with pytest.raises(ConfigError, match=r"Reading the task file .*/t\.yaml failed: No such file or directory"):
        read_tasks(folder / "t.yaml", Defaults(folder, smith), lambda name: persona(folder, name))
    with pytest.raises(ConfigError, match=r"There is no folder .*/gone to work on\. Check the path given with -C\."):
        read_tasks(folder / "t.yaml", Defaults(folder / "gone", smith), lambda name: persona(folder, name))


@pytest.mark.parametrize(("kind", "ids"), [("yaml", ["health", "login"]), ("json", ["health"]), ("csv", ["health"])])
def test_the_examples_of_the_documentation_can_be_used(folder: Path, kind: str, ids: list[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/batch.md").read_text()
    example = re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)[0]
    for name in ("services/orders", "services/shop", "prompts"):
        (folder / name).mkdir(parents=True)
    (folder / "prompts/login.md").write_text("Add a login.\n")

    tasks = read(folder, f"t.{kind.replace('json', 'jsonl')}", example.replace("backend-engineer", "smith"))

    assert [task.id for task in tasks] == ids
    assert {task.checks[0] for task in tasks} == {"make test"}
