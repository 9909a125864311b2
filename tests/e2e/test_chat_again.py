"""A chat that was closed in any way is opened again where it was; a second attempt goes on beside the first."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest
from tests.e2e.chatting import PROGRAM, InPipe, Place, bash
from tests.e2e.running import leftovers

from dockwright.events import CheckpointMade, Prompted, Restored
from dockwright.journal import read
from dockwright.testing.scripted_api import Script, ScriptedApi


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


async def again(place: Place, api: ScriptedApi, run: str, *lines: str) -> tuple[str, int]:
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM), "resume", run, stdin=PIPE, stdout=PIPE, stderr=STDOUT, env=place.environment(api)
    )
    chat = InPipe(process)
    async with asyncio.timeout(120):
        code = await chat.end(*lines)
    return chat.said, code


def said_by_user(api: ScriptedApi) -> list[str]:
    blocks = [block for message in api.requests[-1].body["messages"] for block in message["content"]]
    return [block["text"] for block in blocks if block["type"] == "text" and block["text"].startswith("please")]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP])
async def test_a_chat_goes_on_after_it_was_closed(place: Place, backend: str, end: signal.Signals) -> None:
    one: Script = [bash("echo one > one.txt; git add -A; git commit -qm one"), "One."]
    turns: Script = [*one, bash("rm one.txt README"), "Gone."]
    async with ScriptedApi(turns) as api, InPipe.open(place, api, backend) as chat:
        chat.say("please one", "please two")
        await chat.see("Gone.")
        while sum(isinstance(event, CheckpointMade) for event in place.events) < 2:
            await asyncio.sleep(0.05)
        chat.process.send_signal(end)
        await chat.process.wait()
    async with ScriptedApi([*one, "So."]) as api:
        said, code = await again(place, api, place.run.name, "/undo", "please go on")
        assert code == 0, said
        assert said_by_user(api) == ["please one", "please go on"]
    assert "Took back: please two" in said
    assert place.delivered("one.txt") == "one"
    assert place.delivered("README") == "shop"
    assert [event.turn for event in place.events if isinstance(event, Restored)] == [2]
    assert leftovers(place.run.name) == []


async def test_a_fork_goes_on_beside_the_first_chat(place: Place) -> None:
    turns: Script = [bash("echo one > one.txt"), "One.", bash("echo two > two.txt"), "Two."]
    async with ScriptedApi(turns) as api, InPipe.open(place, api, "docker") as chat:
        chat.say("please one", "please two", "/fork 2", "/fork x")
        await chat.see("/fork 6 begins a second attempt")
        first, second = sorted(place.runs, key=lambda run: (run / "journal.jsonl").stat().st_ctime)
        assert f"dockwright resume {second.name}" in chat.said
        said, code = await again(place, api, second.name, "please three")
        assert code == 0, said
        assert said_by_user(api) == ["please one", "please three"]
        assert await chat.end("please four") == 0
        assert said_by_user(api) == ["please one", "please two", "please four"]
    assert place.git("ls-tree", "--name-only", f"dockwright/{first.name}").split()[-3:] == ["one.txt", "src", "two.txt"]
    assert "one.txt" in place.git("ls-tree", "--name-only", f"dockwright/{second.name}").split()
    asked = [event for event in read(first / "journal.jsonl") if isinstance(event, Prompted)]
    assert [event.content[-1]["text"] for event in asked] == ["please one", "please two", "please four"]
