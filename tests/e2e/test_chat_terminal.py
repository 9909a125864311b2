"""A chat on a real terminal: typing, history, Ctrl-C, Ctrl-D, questions, and what never reaches the screen raw."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.e2e.chatting import PROMPT, OnTerminal, Place, bash, long_nap, processes, until_it_runs

from dockwright.events import Prompted, RunFinished
from dockwright.testing.scripted_api import ScriptedApi, Turn, text, tool_use

BACKEND = "bubblewrap"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def messages(place: Place) -> list[object]:
    return [event.content[-1]["text"] for event in place.events if isinstance(event, Prompted)]


async def test_a_conversation_from_the_first_word_to_ctrl_d(place: Place) -> None:
    write = Turn([tool_use("Write", {"file_path": "/workspace/new.py", "content": "x = 1\n"})])
    async with ScriptedApi([write, "Written."]) as api, OnTerminal.open(place, api, BACKEND) as chat:
        await chat.see("Ctrl-D leaves.", PROMPT)
        chat.type("first line\x1b\rsecond line\r")
        shown = await chat.see("│ Written.", PROMPT)
        assert "Write new.py" in shown
        assert "│ +x = 1" in shown
        chat.type("\x04")
        await chat.see("not checked out")
        assert await chat.process.wait() == 0
    assert messages(place) == ["first line\nsecond line"]
    assert place.delivered("new.py") == "x = 1"


async def test_lines_are_remembered_for_their_owner_alone(place: Place) -> None:
    history = place.home / "state/dockwright/history"
    async with ScriptedApi() as api, OnTerminal.open(place, api, BACKEND) as chat:
        await chat.see(PROMPT)
        chat.type("remember me\r")
        await chat.see("│ Done.", PROMPT)
        chat.type("\x1b[A")
        await chat.see("remember me")
        chat.type("\r")
        await chat.see("│ Done.", PROMPT)
        chat.type("\x04")
        assert await chat.process.wait() == 0
    assert messages(place) == ["remember me", "remember me"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+remember me" in history.read_text()


async def test_ctrl_c_stops_a_call_then_empties_the_line_then_says_how_to_leave(place: Place) -> None:
    nap = long_nap()
    async with ScriptedApi([bash(nap), "I go on."]) as api, OnTerminal.open(place, api, BACKEND) as chat:
        await chat.see(PROMPT)
        chat.type("please sleep\r")
        await until_it_runs(nap)
        chat.type("\x03")
        await chat.see("/undo takes it back.", PROMPT)
        assert processes(nap) == []
        chat.type("never sent\x03")
        await chat.see("never sent", PROMPT)
        chat.type("\x03")
        await chat.see("Ctrl-D or /exit leaves.", PROMPT)
        chat.type("please go on\r")
        await chat.see("│ I go on.", PROMPT)
        chat.type("/ex")
        await chat.see("/exit")
        chat.type("\t\r")
        assert await chat.process.wait() == 0
    assert messages(place) == ["please sleep", "please go on"]


async def test_apply_asks_once_and_no_is_the_default(place: Place) -> None:
    async with ScriptedApi([bash("echo new > new"), "Made."]) as api, OnTerminal.open(place, api, BACKEND) as chat:
        await chat.see(PROMPT)
        chat.type("please make\r")
        await chat.see("│ Made.", PROMPT)
        chat.type("/apply\r")
        await chat.see("shop? [y/N]")
        chat.type("\r")
        await chat.see("Not applied.", PROMPT)
        assert place.git("status", "--porcelain") == ""
        chat.type("/apply\r")
        await chat.see("shop? [y/N]")
        chat.type("y\r")
        await chat.see("y\n", "staged.", PROMPT)
    assert place.git("status", "--porcelain") == "?? new"


async def test_the_shell_shows_output_as_it_comes_and_ctrl_c_stops_its_command(place: Place) -> None:
    nap = long_nap()
    async with ScriptedApi() as api, OnTerminal.open(place, api, BACKEND) as chat:
        await chat.see(PROMPT)
        chat.type("/shell\r")
        await chat.see("sandbox:/workspace$")
        chat.type(f"cd src; echo begun; {nap}\r")
        await chat.see("begun\n")
        await until_it_runs(nap)
        chat.type("\x03")
        await chat.see("stopped\nsandbox:/workspace$")
        assert processes(nap) == []
        chat.type("\x03\x04")
        await chat.see(PROMPT)
        chat.type("/exit\r")
        assert await chat.process.wait() == 0


async def test_the_terminal_obeys_nothing_from_inside(place: Place) -> None:
    evil = "a\x1b]0;title\x07b\x1b[2Jc\u202ed"
    turns = [bash(f"printf '{evil}'"), Turn([text(evil)])]
    async with ScriptedApi(turns) as api, OnTerminal.open(place, api, BACKEND) as chat:
        await chat.see(PROMPT)
        chat.type("please\r")
        await chat.see(r"│ a\x1b]0;title\x07b\x1b[2Jc\u202ed", PROMPT)
        chat.type("/shell\r")
        await chat.see("$")
        chat.type("printf 'a\\033]0;title\\007b'\r")
        await chat.see(r"a\x1b]0;title\x07b" + "\nsandbox")
    assert "\x1b]0;" not in chat.everything
    assert "\x1b[2J" not in chat.everything


@pytest.mark.parametrize("term", ["xterm", "dumb"])
async def test_forty_columns_without_colour(place: Place, term: str) -> None:
    turns = [bash("true"), Turn([text("word " * 30)])]
    environment = {"TERM": term, "NO_COLOR": "1"}
    async with ScriptedApi(turns) as api, OnTerminal.open(place, api, BACKEND, columns=40, **environment) as chat:
        await chat.see(PROMPT)
        chat.type("please\r")
        shown = await chat.see(PROMPT)
        assert shown.count("word") == 30
        chat.type("/exit\r")
        assert await chat.process.wait() == 0


async def test_a_terminal_that_goes_away_ends_the_chat_and_keeps_the_work(place: Place) -> None:
    async with ScriptedApi([bash("echo new > new"), "Made."]) as api, OnTerminal.open(place, api, BACKEND) as chat:
        await chat.see(PROMPT)
        chat.type("please make\r")
        await chat.see("│ Made.", PROMPT)
        chat.hang_up()
        await chat.process.wait()
    assert place.delivered("new") == "new"
    assert isinstance(place.events[-1], RunFinished)
