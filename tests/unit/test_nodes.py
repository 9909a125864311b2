"""Which of several places gets the next attempt of a batch, and how their names become addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import pytest

from dockwright.batch.node import Nodes
from dockwright.config import Config
from dockwright.errors import ConfigError, SandboxError
from dockwright.journal import Sink
from dockwright.result import RunResult
from dockwright.run.work import Task
from dockwright.sandbox.address import named_engines


class Place:
    """It is away while it is told to be; nobody waits for it for more than `patience` goes of the loop."""

    def __init__(self, name: str, patience: int = 1000) -> None:
        self.name, self.away, self.reaped = name, False, set[str]()
        self._patience = patience

    async def carry_out(self, task: Task, config: Config, folder: Path, sinks: Sequence[Sink]) -> RunResult:
        return RunResult()

    async def ready(self) -> None:
        for _ in range(self._patience):
            if not self.away:
                return
            await asyncio.sleep(0)
        raise SandboxError(f"{self.name} is away.")

    async def reap(self, runs: Collection[str]) -> None:
        self.reaped |= set(runs)


async def picked(nodes: Nodes, stack: AsyncExitStack) -> str:
    """Where the next attempt is, which stays there."""
    return (await stack.enter_async_context(nodes.least_loaded())).name


async def test_the_least_loaded_is_next_and_one_that_is_away_is_none_until_it_is_back() -> None:
    one, two = Place("one"), Place("two")
    nodes = Nodes([one, two])
    async with AsyncExitStack() as stack:
        assert [await picked(nodes, stack) for _ in range(3)] == ["one", "two", "one"]
        two.away = True
        nodes.lose(two, "r1")
        assert [await picked(nodes, stack) for _ in range(3)] == ["one", "one", "one"]
        assert (nodes.state, two.reaped) == ([("one", 5, True), ("two", 1, False)], set())
        two.away = False
        while ("two", 1, True) not in nodes.state:
            await asyncio.sleep(0)
        assert ([await picked(nodes, stack) for _ in range(4)], two.reaped) == (["two"] * 4, {"r1"})
    assert nodes.state == [("one", 0, True), ("two", 0, True)]


async def test_a_task_is_not_tried_again_where_it_was_lost_while_there_is_another() -> None:
    one, two = Place("one"), Place("two")
    nodes = Nodes([one, two])
    async with AsyncExitStack() as stack:
        assert [await picked(nodes, stack) for _ in range(2)] == ["one", "two"]
        async with nodes.least_loaded({one}) as node:
            assert node is two
        async with nodes.least_loaded({one, two}) as node:
            assert node is one


async def test_where_all_stay_away_it_is_told_and_the_first_that_is_back_gets_the_next() -> None:
    one, two = Place("one", patience=10), Place("two", patience=20)
    nodes = Nodes([one, two])
    for place in (one, two):
        place.away = True
        nodes.lose(place, "r1")
    for _ in range(2):
        with pytest.raises(SandboxError, match=r"^one is away\. two is away\.$"):
            await nodes.ready()
    waiting = asyncio.create_task(nodes.ready())
    await asyncio.sleep(0)
    two.away = False
    await waiting
    async with nodes.least_loaded() as node:
        assert node is two
    await nodes.close()


def test_engines_are_named_by_context_or_address(tmp_path: Path) -> None:
    for name, host in (("far", "tcp://far:2375"), ("over-ssh", "ssh://me@far")):
        meta = tmp_path / "contexts/meta" / sha256(name.encode()).hexdigest() / "meta.json"
        meta.parent.mkdir(parents=True)
        meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))
    env = {"DOCKER_CONFIG": str(tmp_path), "DOCKER_HOST": "unix:///mine.sock"}

    assert named_engines(["far", "default", "unix:///other.sock"], env) == {
        "far": "tcp://far:2375", "default": "unix:///mine.sock", "unix:///other.sock": "unix:///other.sock",
    }  # fmt: skip
    for names, said in (
        (["gone"], "There is no docker context 'gone'. `docker context ls`"),
        (["over-ssh"], r"The engine over-ssh \(ssh://me@far\) is reached over TLS or ssh.* Forward its socket"),
        (["https://far:2376"], "is reached over TLS or ssh"),
        (["far", "tcp://far:2375"], r"One engine is named twice: far \(tcp://far:2375\), tcp"),
    ):
        with pytest.raises(ConfigError, match=said):
            named_engines(names, env)
