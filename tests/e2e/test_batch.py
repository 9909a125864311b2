"""A batch from the command line: what becomes of its tasks, and how it goes on after whatever ended it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.batching import SCRIPTS, UNBROKEN, Bench, ended, left_behind, plain
from tests.repositories import git

from dockwright.testing.scripted_api import ScriptedApi

SERVED = {"serve": "python3 -m http.server 8000", "probe": "http://localhost:8000/made.txt"}


@pytest.mark.docker
async def test_each_task_gets_its_own_end_and_a_finished_one_is_never_asked_again(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(
            ("verified", "works", {"tags": ["a"], "metadata": {"ticket": 7}, **SERVED}),
            ("done", "works", {"check": [], "deliver": "patch"}),
            ("failed", "works", {"check": ["true", "grep other made.txt"], "repairs": 1}),
            ("unverified", "silent", {}),
            ("limit", "endless", {"turns": 3}),
            ("refused", "refuses", {}),
        )
        code, out, err = await bench.run("-j", "3", "--atif")

        lines = bench.results()
        assert (code, err) == (5, "")
        assert [(line.id, line.status, line.exit_code, line.turns) for line in lines] == [
            ("verified", "verified", 0, 3),
            ("done", "done", 0, 3),
            ("failed", "checks_failed", 3, 4),
            ("unverified", "unverified", 4, 3),
            ("limit", "limit", 5, 3),
            ("refused", "refused", 6, 2),
        ]
        assert [[(check.command, check.exit_code) for check in line.checks] for line in lines] == [
            [("test -e made.txt", 0), (f"{SERVED['serve']}; GET {SERVED['probe']}", 0)], [],
            [("true", 0), ("grep other made.txt", 1)], [("test -e made.txt", 0)], [], [],
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
        told = [json.loads((bench.out / line.id / "trajectory.json").read_bytes()) for line in lines]
        assert [each["session_id"] for each in told] == [line.run for line in lines]
        assert out.splitlines()[0] == "6 tasks, 3 at once"
        ends = [line.split()[1] for line in out.splitlines() if line.startswith("[")]
        assert sorted(ends) == sorted(line.id for line in lines)
        assert "6 runs" in out

        asked = bench.asked()
        code, out, _ = await bench.run("-j", "3")

        assert (code, bench.results(), bench.asked()) == (5, lines, asked)
        assert out.splitlines()[0] == "6 tasks, 3 at once, 6 finished before"
        assert left_behind([line.run for line in lines]) == []


@pytest.mark.docker
async def test_after_a_kill_half_done_tasks_go_on_and_come_to_what_they_would_have_without_it(tmp_path: Path) -> None:
    tasks: list[tuple[str, str, dict[str, Any]]] = [
        ("first", "works", {}),
        ("second", "stalls-at-2", {}),
        ("third", "stalls-at-4", {}),
        ("last", "dies-once", {}),
    ]
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(*tasks)
        killed = await bench.start("-j", "2")
        await bench.until_asked(first=3, second=2, third=4)

        code, _, err = await bench.run()
        assert code == 2
        assert err == (
            f"error: Another batch is at work in {bench.out}. Wait until it has ended, or choose another --out.\n"
        )

        killed.kill()
        await ended(killed)
        assert bench.statuses() == {"first": "verified"}
        with (bench.out / "results.jsonl").open("ab") as file:
            file.write(b'{"id": "torn')

        code, out, _ = await bench.run("-j", "3")
        assert (code, bench.statuses()["last"]) == (7, "model_error")
        code, _, err = await bench.run("-j", "3")
        assert (code, err) == (0, "")

    async with ScriptedApi(scripts=UNBROKEN) as api:
        (tmp_path / "whole").mkdir()
        whole = Bench(tmp_path / "whole", "bubblewrap", api)
        whole.write_tasks(*tasks)
        assert (await whole.run("-j", "4"))[0] == 0

    lines = bench.results()
    broken_off = {"second": 1, "third": 1, "last": 1}
    assert bench.asked() == whole.asked() + Counter(broken_off)
    assert [line.resumed for line in lines] == [0, 1, 1, 1]
    assert {line.split()[1] for line in out.splitlines() if "resumed" in line} == {"second", "third"}
    assert [plain(line) for line in lines] == [plain(line) for line in whole.results()]
    assert [bench.patch(line) for line in lines] == [whole.patch(line) for line in whole.results()]
    assert sorted(path.name for path in bench.out.iterdir() if path.is_dir()) == ["first", "last", "second", "third"]
    assert left_behind([line.run for line in lines]) == []


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
        assert bench.asked() == {"first": 3, "second": 2 + 2, "third": 3}


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
