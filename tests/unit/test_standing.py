"""What a check stands on, found from its words, and put back without undoing the work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.repositories import agent_commit, new_repository, tree

from dockwright.proof.standing import changed_files, stands_on, with_the_checks_of_base
from dockwright.workspace import snapshot

TREE = (
    "check.sh", "Makefile", "package.json", "pyproject.toml", "conftest.py", "tests/conftest.py", "tests/test_a.py",
    "src/app.py", "web/package.json", "web/check.js", "tools/smoke.py", "tox.ini",
)  # fmt: skip
PYTEST = {"pyproject.toml", "conftest.py", "tests/conftest.py", "tox.ini"}


@pytest.mark.parametrize(
    ("check", "files"),
    [
        ("true", set()),
        ("sh check.sh", {"check.sh"}),
        ("./check.sh && echo 'x", {"check.sh"}),
        ("sh /workspace/check.sh|grep ok", {"check.sh"}),
        ("make -j2 test", {"Makefile"}),
        ("npm ci && npm test", {"package.json"}),
        ("cd web && npm test", {"package.json", "web/package.json"}),
        ("cd web; node check.js", {"web/check.js"}),
        ("python3 -m tools.smoke", {"tools/smoke.py"}),
        ("python3 -m pytest -q", PYTEST),
        ("pytest tests/test_a.py::test_b", PYTEST | {"tests/test_a.py"}),
        ("pytest tests", PYTEST),
    ],
)
def test_a_check_stands_on_the_files_it_names_and_those_its_program_goes_by(check: str, files: set[str]) -> None:
    assert stands_on([check], TREE) == files


async def test_scripts_of_a_package_are_put_back_and_its_new_dependencies_stay(tmp_path: Path) -> None:
    before = {"scripts": {"test": "node real.js"}, "dependencies": {"a": "1"}}
    bent = {"scripts": {"test": "true"}, "dependencies": {"a": "1", "b": "2"}}
    repo = new_repository(tmp_path / "repo", {"package.json": json.dumps(before).encode(), "check.sh": b"real\n"})
    workspace = await snapshot(repo, tmp_path / "state")
    commit = await agent_commit(
        workspace, {"package.json": json.dumps(bent).encode(), "check.sh": None, "new.txt": b"x"}
    )
    changed = await changed_files(workspace, commit, ["npm test", "sh check.sh"])
    restored = await with_the_checks_of_base(workspace, commit, changed)
    files = tree(workspace.quarantine.folder, restored)
    assert sorted(changed) == ["check.sh", "package.json"]
    assert json.loads(files["package.json"].partition(" ")[2]) == {
        "scripts": before["scripts"],
        "dependencies": bent["dependencies"],
    }
    assert (files["check.sh"], files["new.txt"]) == ("100644 real", "100644 x")
    only_dependencies = json.dumps({**before, "dependencies": bent["dependencies"]}).encode()
    honest = await agent_commit(workspace, {"package.json": only_dependencies})
    assert await changed_files(workspace, honest, ["npm test"]) == {}
    assert await changed_files(workspace, commit, ["sh check.sh"], ["check.*"]) == {}
