"""A batch on a Ray cluster of three nodes: the head, and two with slots, each with an engine of its own."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.docker.engine import second_engine
from tests.docker.ray_cluster import RayCluster
from tests.docker.test_engines import ITS_OWN, SLOW, at_work, run_of
from tests.e2e.batching import SCRIPTS, Bench, ended, left_behind
from tests.repositories import git

from dockwright.batch import ResultLine
from dockwright.batch.control import ask
from dockwright.events import Answered
from dockwright.gate.purse import Account
from dockwright.journal import read
from dockwright.sandbox.address import find_engine
from dockwright.testing.scripted_api import ScriptedApi

pytestmark = pytest.mark.docker
HERE = find_engine({}).url


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[RayCluster]:
    cluster = RayCluster(Path(tempfile.mkdtemp(prefix="dw-")))
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


async def test_a_cluster_that_is_not_there_or_has_no_slots_is_told_before_anything_starts(
    tmp_path: Path, cluster: RayCluster
) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(("a", "works", {}))
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{bound.getsockname()[1]}"
        for address, why in ((nobody, "Connection refused"), (cluster.address, "ray start --address=HEAD")):
            code, out, err = await bench.run("--on", f"ray:{address}")
            assert (code, out, why in err, f"The Ray cluster ({address}) cannot be used" in err) == (8, "", True, True)
        code, _, err = await bench.run("--on", "ray:nowhere")
        assert (code, "--on ray:nowhere" in err) == (2, True)
        bound.close()
        assert api.requests == []


async def test_a_node_that_is_killed_loses_no_result_and_nothing_is_paid_for_twice(
    tmp_path: Path, cluster: RayCluster
) -> None:
    async with (
        ScriptedApi(scripts={**SCRIPTS, "slow": SLOW}) as api,
        second_engine(Path(tempfile.mkdtemp(prefix="dw-")), "dockwright/runtime:latest") as engine,
    ):
        await cluster.add("here", 2, HERE)
        await cluster.add("there", 1, engine.host)
        (tmp_path / "shell.tar").write_bytes(engine.shell_archive())
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(*((f"t{number}", "slow", {"image": "shell.tar"}) for number in range(4)))
        process = await bench.start("-j", "4", "--on", f"ray:{cluster.address}", "--total-budget", "1")
        async with asyncio.timeout(150):
            while sorted(bench.asked().values()) != [2, 2, 2]:
                await asyncio.sleep(0.1)
        before = at_work(await ask(bench.out, {"do": "list"}))
        assert Counter(before.values()) == {"here": 2, "there": 1, "": 1}  # the last waits for a slot
        assert sorted(bench.asked().values()) == [2, 2, 2]

        await cluster.kill("there")
        going = asyncio.create_task(releasing(bench, before))
        code, out, err = await ended(process)
        going.cancel()

        lines = bench.results()
        assert (code, err, out.count("[again/4]")) == (0, "", 1), out
        assert "there did not answer. What it may still have of this batch is listed there by: docker ps" in out
        assert {line.id: (line.status, line.node, line.attempt) for line in lines} == {
            task: ("verified", "here", 2 if node == "there" else 1) for task, node in before.items()
        }
        assert bench.asked() == dict.fromkeys(before, len(SLOW)) == {line.id: answers(bench, line.id) for line in lines}
        assert Account(bench.out / ".spent.jsonl").spent == pytest.approx(sum(line.cost or 0 for line in lines))
        assert left_behind([line.run for line in lines]) == []

        (tmp_path / "local").mkdir()
        local = Bench(tmp_path / "local", "docker", api)
        local.write_tasks(("local", "slow", {"image": "../shell.tar"}))
        process = await local.start()
        await local.until_asked(local=2)
        release(local, ["local"])
        assert (await ended(process))[0] == 0
        assert {same(bench, line) for line in lines} == {same(local, line) for line in local.results()}


def release(bench: Bench, tasks: Iterable[str]) -> None:
    """End what the sandboxes of these tasks, those that there are, wait for."""
    for task in tasks:
        with suppress(FileNotFoundError, StopIteration):
            go = ("docker", "exec", f"dockwright-{run_of(bench, task)}", "sh", "-c", ": > /tmp/go")
            subprocess.run(go, capture_output=True)


async def releasing(bench: Bench, tasks: Iterable[str]) -> None:
    while True:
        await asyncio.to_thread(release, bench, tasks)
        await asyncio.sleep(0.5)


def answers(bench: Bench, task: str) -> int:
    return sum(isinstance(event, Answered) for event in read(bench.out / task / "journal.jsonl"))


def same(bench: Bench, line: ResultLine) -> tuple[str, str, str]:
    """What does not depend on where and when it was done."""
    patch = (bench.out / str(line.patch)).read_text()
    tree = git(bench.repo, "rev-parse", f"{line.branch}^{{tree}}")
    return line.model_dump_json(exclude={*ITS_OWN, "repo"}), patch, tree
