"""Task lists of others: SWE-bench instances and Harbor task folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.repositories import git, new_repository

from dockwright import agent
from dockwright.agent import Agent
from dockwright.errors import ConfigError
from dockwright.tasks import Defaults, ListedTask, read_tasks
from dockwright.workspace import snapshot

INSTANCE = {
    "instance_id": "acme__shop-12", "repo": "acme/shop", "base_commit": "abc", "problem_statement": "It breaks.",
    "patch": "the solution", "test_patch": "the tests", "hints_text": "", "version": "1.0",
    "FAIL_TO_PASS": '["tests/test_a.py::test_x"]', "PASS_TO_PASS": '["tests/test_a.py::test_y"]',
}  # fmt: skip


@pytest.fixture
def smith(tmp_path: Path) -> Agent:
    path = tmp_path / "smith.md"
    path.write_text("---\nname: smith\ndescription: builds\n---\nBuild.\n")
    return agent.load(path)


def read(path: Path, smith: Agent, repos: Path | None = None) -> tuple[ListedTask, ...]:
    return read_tasks(path, Defaults(path.parent, smith), lambda name: smith, repos)


@pytest.mark.parametrize(("suffix", "folder"), [("jsonl", "acme/shop"), ("json", "acme__shop"), ("jsonl", "shop")])
def test_an_instance_is_a_task_on_the_checkout_of_its_repository(
    tmp_path: Path, smith: Agent, suffix: str, folder: str
) -> None:
    (tmp_path / "repos" / folder).mkdir(parents=True)
    path = tmp_path / f"dev.{suffix}"
    path.write_text(json.dumps([INSTANCE] if suffix == "json" else INSTANCE))

    (task,) = read(path, smith, tmp_path / "repos")

    assert (task.id, task.prompt, task.base, task.deliver, task.checks) == (
        "acme__shop-12", "It breaks.", "abc", "patch", (),
    )  # fmt: skip
    assert task.repo == tmp_path / "repos" / folder
    assert task.metadata == {
        "repo": "acme/shop", "version": "1.0", "FAIL_TO_PASS": ["tests/test_a.py::test_x"],
        "PASS_TO_PASS": ["tests/test_a.py::test_y"], "ignored": ["test_patch"],
    }  # fmt: skip


def test_an_instance_without_a_checkout_is_named(tmp_path: Path, smith: Agent) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(f"{json.dumps(INSTANCE)}\n")
    with pytest.raises(ConfigError, match=r"dev.jsonl:1: this is a SWE-bench instance; say with --repos DIR"):
        read(path, smith)
    with pytest.raises(ConfigError, match=f"dev.jsonl:1: there is no checkout of acme/shop in {tmp_path}"):
        read(path, smith, tmp_path)


async def test_a_base_commit_is_what_the_work_starts_from_and_nothing_of_today(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    then = git(repo, "rev-parse", "HEAD")
    (repo / "later.txt").write_text("later\n")
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "Later")
    (repo / "uncommitted.txt").write_text("today\n")
    before = git(repo, "status", "--porcelain", "-b"), git(repo, "for-each-ref")

    workspace = await snapshot(repo, tmp_path / "state", then[:12])

    assert (workspace.base, workspace.head, workspace.carried) == (then, then, ())
    assert (git(repo, "status", "--porcelain", "-b"), git(repo, "for-each-ref")) == before
    with pytest.raises(ConfigError, match="has no commit 0123456789"):
        await snapshot(repo, tmp_path / "other", "0123456789")


def harbor_task(folder: Path, settings: str, test: str = "exit 0\n") -> Path:
    for name in ("environment", "tests", "solution"):
        (folder / name).mkdir(parents=True)
    (folder / "task.toml").write_text(settings)
    (folder / "instruction.md").write_text("Make it work.\n")
    (folder / "environment" / "Dockerfile").write_text("FROM scratch\n")
    (folder / "tests" / "test.sh").write_text(test)
    return folder


def test_a_folder_of_harbor_tasks_is_a_list(tmp_path: Path, smith: Agent) -> None:
    settings = (
        '[metadata]\ndifficulty = "easy"\n[environment]\ndocker_image = "some/image:1"\nnetwork_mode = "no-network"\n'
        "cpus = 2\n[agent]\ntimeout_sec = 900.0\n[verifier]\ntimeout_sec = 60.0\n"
    )
    harbor_task(tmp_path / "set" / "b", settings)
    harbor_task(tmp_path / "set" / "a", "")

    a, b = read(tmp_path / "set", smith)

    assert (a.id, a.image, a.net, a.minutes) == ("a", None, None, None)
    assert (b.id, b.prompt.strip(), b.image, b.net, b.minutes) == (
        "b", "Make it work.", "some/image:1", ("none",), 15.0,
    )  # fmt: skip
    assert b.repo == tmp_path / "set/b/environment"
    assert b.metadata == {
        "difficulty": "easy", "ignored": ["environment.cpus", "verifier.timeout_sec", "environment/Dockerfile"],
    }  # fmt: skip
