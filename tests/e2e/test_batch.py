"""A batch from the command line: the real process, real sandboxes, real git, and a scripted model on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.repositories import git, new_repository

from dockwright.batch import ResultLine
from dockwright.testing.scripted_api import Fault, Script, ScriptedApi, Turn, text, tool_use

PERSONA = "---\nname: smith\ndescription: builds things\nmodel: haiku\n---\nYou build things.\n"
REPORT = tool_use("SubmitReport", {"summary": "It is done.", "changes": ["made.txt was made"]})
WRITE = tool_use("Write", {"file_path": "/workspace/made.txt", "content": "made\n"})
STALL = (Fault("stall", at="start", seconds=600),)
WORKS: Script = (Turn([WRITE]), Turn([REPORT]), "Done.")
SCRIPTS: dict[str, Script] = {
    "works": WORKS,
    "silent": (Turn([WRITE]), "Done.", "Really done."),
    "endless": [Turn([tool_use("Bash", {"command": f"echo {number} >> made.txt"})]) for number in range(9)],
    "refuses": (Turn([WRITE]), Turn([text("No.")], stop_reason="refusal")),
    "stalls-once": (Turn([WRITE]), Turn([REPORT], faults=STALL), "Done."),
    "stalls": (Turn([WRITE]), Turn([REPORT], faults=STALL * 9), "Done."),
    "dies-once": (Turn([WRITE], faults=(Fault("http", status=400, error="invalid_request_error"),)), *WORKS[1:]),
}


class Bench:
    """A folder with a repository, a persona and a task file, and the command to work on it."""

    def __init__(self, folder: Path, backend: str, api: ScriptedApi) -> None:
        self.folder, self.out, self.repo = folder, folder / "out", new_repository(folder / "repo")
        self._backend, self._api = backend, api
        (folder / "smith.md").write_text(PERSONA)

    def write_tasks(self, *tasks: tuple[str, str, dict[str, Any]]) -> None:
        """Each an id, the name of a script, and more fields. The id is in the prompt, so that requests tell it."""
        lines = [
            {"id": id_, "prompt": f"Task <{id_}>. [[script:{script}]]", "check": "test -e made.txt", **more}
            for id_, script, more in tasks
        ]
        (self.folder / "tasks.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    async def start(self, *flags: str) -> Process:
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "ANTHROPIC_BASE_URL": self._api.url,
            "ANTHROPIC_API_KEY": "sk-test", "COLUMNS": "200",
        } | {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}  # fmt: skip
        return await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("dockwright")), "batch", "tasks.jsonl", "--out", "out", "-C", "repo",
            "-a", "smith.md", "--sandbox", self._backend, "--net", "none", *flags,
            cwd=self.folder, env=env, stdout=PIPE, stderr=PIPE, start_new_session=True,
        )  # fmt: skip

    async def run(self, *flags: str) -> tuple[int | None, str, str]:
        return await ended(await self.start(*flags))

    def results(self) -> list[ResultLine]:
        return [ResultLine.model_validate_json(line) for line in (self.out / "results.jsonl").read_bytes().splitlines()]

    def statuses(self) -> dict[str, str]:
        return {line.id: line.status for line in self.results()}

    def asked(self) -> Counter[str]:
        """How many requests each task has made."""
        bodies = (json.dumps(request.body["messages"][0]) for request in self._api.requests)
        return Counter(body.partition("Task <")[2].partition(">")[0] for body in bodies)

    async def until_asked(self, **wanted: int) -> None:
        async with asyncio.timeout(30):
            while not self.asked() >= Counter(wanted):
                await asyncio.sleep(0.02)


async def ended(process: Process) -> tuple[int | None, str, str]:
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def left_behind(runs: Sequence[str]) -> list[str | None]:
    """Containers and volumes of these runs."""
    import docker

    client = docker.from_env()
    try:
        names = [container.name for container in client.containers.list(all=True)]
        names += (volume.attrs["Name"] for volume in client.volumes.list())
        return [name for name in names if any(run in str(name) for run in runs)]
    finally:
        client.close()


@pytest.mark.docker
async def test_each_task_gets_its_own_end_and_a_finished_one_is_never_asked_again(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(
            ("verified", "works", {"tags": ["a"], "metadata": {"ticket": 7}}),
            ("done", "works", {"check": [], "deliver": "patch"}),
            ("failed", "works", {"check": ["true", "grep other made.txt"]}),
            ("unverified", "silent", {}),
            ("limit", "endless", {"turns": 3}),
            ("refused", "refuses", {}),
        )
        code, out, err = await bench.run("-j", "3")

        lines = bench.results()
        assert (code, err) == (5, "")
        assert [(line.id, line.status, line.exit_code, line.turns) for line in lines] == [
            ("verified", "verified", 0, 3),
            ("done", "done", 0, 3),
            ("failed", "checks_failed", 3, 3),
            ("unverified", "unverified", 4, 3),
            ("limit", "limit", 5, 3),
            ("refused", "refused", 6, 2),
        ]
        assert [[(check.command, check.exit_code) for check in line.checks] for line in lines] == [
            [("test -e made.txt", 0)], [], [("true", 0), ("grep other made.txt", 1)],
            [("test -e made.txt", 0)], [], [],
        ]  # fmt: skip
        assert (lines[0].tags, lines[0].metadata) == (("a",), {"ticket": 7})
        branches = [f"dockwright/{line.run}" for line in lines if line.id != "done"]
        assert [line.branch for line in lines if line.id != "done"] == branches
        assert git(bench.repo, "branch", "--format=%(refname:short)").splitlines() == sorted([*branches, "main"])
        assert git(bench.repo, "show", f"{lines[4].branch}:made.txt") == "0\n1\n2"
        assert all((bench.out / str(line.patch)).read_bytes() for line in lines)
        assert {path.name for path in (bench.out / "done").iterdir()} >= {
            "journal.jsonl", "report.md", "report.json", "changes.patch",
        }  # fmt: skip
        assert out.splitlines()[0] == "6 tasks, 3 at once"
        ends = [line.split()[1] for line in out.splitlines() if line.startswith("[")]
        assert sorted(ends) == sorted(line.id for line in lines)
        assert "6 runs" in out

        asked = bench.asked()
        code, out, _ = await bench.run("-j", "3")

        assert (code, bench.results(), bench.asked()) == (5, lines, asked)
        assert out.splitlines()[0] == "6 tasks, 3 at once, 6 finished before"
        assert left_behind([line.run for line in lines]) == []


@pytest.mark.bubblewrap
async def test_after_a_kill_only_what_was_not_finished_is_done_again(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        bench.write_tasks(("first", "works", {}), ("second", "stalls-once", {}), ("third", "dies-once", {}))
        killed = await bench.start("-j", "1")
        await bench.until_asked(second=2)

        code, _, err = await bench.run("-j", "1")
        assert code == 2
        assert err == (
            f"error: Another batch is at work in {bench.out}. Wait until it has ended, or choose another --out.\n"
        )

        killed.kill()
        await ended(killed)
        assert bench.statuses() == {"first": "verified"}
        with (bench.out / "results.jsonl").open("ab") as file:
            file.write(b'{"id": "torn')

        code, _, _ = await bench.run("-j", "3")
        assert (code, bench.statuses()) == (7, {"first": "verified", "second": "verified", "third": "model_error"})
        assert bench.asked() == {"first": 3, "second": 2 + 3, "third": 1}

        code, _, err = await bench.run("-j", "3")
        assert (code, err) == (0, "")
        assert bench.statuses() == dict.fromkeys(("first", "second", "third"), "verified")
        assert bench.asked() == {"first": 3, "second": 5, "third": 1 + 3}
        assert sorted(path.name for path in bench.out.iterdir() if path.is_dir()) == [
            "first", "second", "second~1", "third", "third~1",
        ]  # fmt: skip


@pytest.mark.bubblewrap
async def test_an_interrupt_starts_nothing_new_and_hands_over_what_there_is(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        bench.write_tasks(("first", "works", {}), ("second", "stalls-once", {}), ("third", "works", {}))
        process = await bench.start("-j", "1")
        await bench.until_asked(second=2)

        os.killpg(process.pid, signal.SIGINT)
        code, out, err = await ended(process)

        assert (code, err) == (130, "")
        assert "2 of 3 are not finished. The same command goes on with them." in out
        first, second = bench.results()
        assert (first.status, second.status, second.exit_code) == ("verified", "interrupted", 130)
        assert git(bench.repo, "show", f"{second.branch}:made.txt") == "made"
        assert bench.asked() == {"first": 3, "second": 2}

        code, _, err = await bench.run()
        assert (code, err, list(bench.statuses())) == (0, "", ["first", "second", "third"])
        assert bench.asked() == {"first": 3, "second": 2 + 3, "third": 3}


@pytest.mark.docker
async def test_a_second_interrupt_ends_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(("first", "stalls", {}), ("second", "stalls", {}), ("third", "works", {}))
        process = await bench.start("-j", "2")
        await bench.until_asked(first=2, second=2)

        os.killpg(process.pid, signal.SIGINT)
        await asyncio.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        async with asyncio.timeout(5):
            code, _, err = await ended(process)

        assert (code, err, bench.statuses()) == (130, "", {"first": "interrupted", "second": "interrupted"})
        assert left_behind([line.run for line in bench.results()]) == []


async def test_mistakes_in_the_task_file_are_told_before_anything_starts(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(("a", "works", {}), ("a", "works", {"promt": 1}), ("b", "works", {"repo": "gone"}))

        assert await bench.run() == (
            2,
            "",
            (
                "error: The task file cannot be used, so nothing was started.\n"
                "tasks.jsonl:2: there is no key 'promt'; did you mean prompt?\n"
                "tasks.jsonl:2: id: 'a' is taken by line 1\n"
                f"tasks.jsonl:3: repo: there is no folder {tmp_path}/gone\n"
            ),
        )
        assert (bench.asked(), bench.out.exists()) == (Counter(), False)
