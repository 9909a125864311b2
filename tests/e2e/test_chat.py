"""A chat in a pipe: the real program, a real sandbox, an API on loopback. Each line of the input is the user's."""

from __future__ import annotations

import asyncio
import re
import signal
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import pytest
from tests.e2e.chatting import InPipe, Place, bash, in_a_pipe, long_nap, processes, until_it_runs
from tests.e2e.running import leftovers

from dockwright.events import Delivered, Prompted, Restored, RunFinished, ToolFinished, ToolStarted
from dockwright.sandbox.engine import connect
from dockwright.session import BY_USER
from dockwright.testing.scripted_api import Fault, Script, ScriptedApi, Turn, text, tool_use

STATE = """
echo "<<<"; git rev-parse HEAD; git status -sb; git for-each-ref; git stash list; git reflog; git ls-files -s
find . -path ./.git -prune -o -name "*.log" -o -type f -print | sort | xargs tail -n +1; echo ">>>"
"""
LOOK = ("/shell", " ".join(STATE.split("\n")).replace("-s find", "-s; find").strip(), "exit")
SHORT = "bubblewrap"  # where one backend is enough


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.make(tmp_path)


def said_by_user(api: ScriptedApi) -> list[str]:
    """The texts of the user's in the newest request."""
    blocks = [block for message in api.requests[-1].body["messages"] for block in message["content"]]
    return [block["text"] for block in blocks if block["type"] == "text" and block["text"].startswith("please")]


async def test_what_was_changed_comes_back_as_a_branch(place: Place, backend: str) -> None:
    write = Turn([tool_use("Write", {"file_path": "/workspace/new.py", "content": "x = 1\n"})])
    async with ScriptedApi([write, "Written."]) as api:
        said, code = await in_a_pipe(place, api, backend, "please write it", "", "/exit", "please do more")
    assert code == 0
    assert "Write new.py" in said
    assert "│ +x = 1\n" in said
    assert "│ Written.\n" in said
    assert "\x1b" not in said
    assert "> " not in said
    assert [event.content[-1]["text"] for event in place.events if isinstance(event, Prompted)] == ["please write it"]
    (delivered,) = (event for event in place.events if isinstance(event, Delivered))
    assert place.git("log", "--format=%s", f"main..{delivered.branch}") == "please write it"
    assert place.delivered("new.py") == "x = 1"
    assert place.git("status", "--porcelain") == ""
    assert {path.name for path in place.run.iterdir()} >= {"report.md", "report.json", "changes.patch"}
    assert not list(place.run.glob("undo-*"))


@pytest.mark.parametrize(
    "destroy",
    [
        "rm -rf src && git commit -qam gone && echo x > junk && git checkout -qb other && git stash -qu; touch new.log",
        "rm -rf .git && git init -q && echo x > README && rm -rf src; touch new.log",
        "mv .git /tmp/away && ln -s /tmp/away .git && git gc -q --prune=now && git branch -qm trunk; touch new.log",
        "echo more >> lib/a; echo x > lib/new; touch new.log; chmod 0 .git/objects lib src README; chmod 0 .",
    ],
    ids=["commit and checkout", "another repository", "a link", "locked"],
)
async def test_undo_brings_back_files_history_and_conversation(place: Place, backend: str, destroy: str) -> None:
    begin = (
        "mkdir lib && echo a > lib/a && git add lib && git commit -qm lib && git tag v1 && echo b > lib/b && "
        "echo c >> README && git stash -q && echo d > README && git add README && echo log > old.log"
    )
    turns: Script = [bash(begin), "Begun.", bash(destroy), "Destroyed."]
    lines = [
        "please begin",
        *LOOK,
        "please destroy",
        *LOOK,
        "/undo",
        *LOOK,
        "/shell",
        "ls *.log",
        "exit",
        "please go on",
    ]
    async with ScriptedApi(turns) as api:
        said, code = await in_a_pipe(place, api, backend, *lines)
        assert said_by_user(api) == ["please begin", "please go on"]
    before, *between, after = re.findall(r"<<<\n(.*?)>>>\n", said, re.DOTALL)
    assert after == before
    assert before not in between
    assert "lib/b" in before
    assert "new.log\nold.log\n" in said
    assert "Took back: please destroy\n" in said
    assert [event.turn for event in place.events if isinstance(event, Restored)] == [2]
    assert code == 0


async def test_undo_stops_what_was_started_and_puts_the_shell_back(place: Place) -> None:
    nap = long_nap()
    turns: Script = ["Hello.", bash(f"cd src && {nap} & cd src; pwd"), "Started."]
    scripts: dict[str, Script] = {"two": [bash("pwd"), "So."]}
    async with ScriptedApi(turns, scripts=scripts) as api, InPipe.open(place, api, SHORT) as chat:
        chat.say("please", "please start")
        await until_it_runs(nap)
        chat.say("/undo 2")
        await chat.see("Took back: please\n")
        assert processes(nap) == []
        assert await chat.end("please look [[script:two]]") == 0
    calls = [event.content for event in place.events if isinstance(event, ToolFinished)]
    assert str(calls[0]).startswith("/workspace/src\n")
    assert calls[1] == "/workspace"


async def test_undo_says_what_it_takes(place: Place) -> None:
    async with ScriptedApi() as api:
        said, _ = await in_a_pipe(place, api, SHORT, "/undo", "please", "/undo 2", "/undo x", "/undo 0", "/undo last")
    assert "There is nothing to take back: 0 messages so far." in said
    assert "There is nothing to take back: 1 message so far." in said
    assert said.count("/undo takes back the last message, /undo 3 the last three.") == 3
    assert [event for event in place.events if isinstance(event, Restored)] == []


async def test_a_message_that_fails_is_told_and_the_chat_goes_on(place: Place) -> None:
    refuse = Turn([text("Fine.")], faults=(Fault("http", status=400, error="invalid_request_error"),))
    async with ScriptedApi(["Hello.", refuse]) as api:
        lines = ["please greet", "please fail", "please go on", "/undo", "please again"]
        said, code = await in_a_pipe(place, api, SHORT, *lines)
        assert said_by_user(api) == ["please greet", "please fail", "please again"]
    assert "answered 400 as scripted" in " ".join(said.split())
    assert code == 0


async def test_the_exit_code_is_that_of_the_last_message(place: Place) -> None:
    refuse = Turn([text("Fine.")], faults=(Fault("http", status=401, error="authentication_error"),))
    async with ScriptedApi(["Hello.", refuse]) as api:
        _, code = await in_a_pipe(place, api, SHORT, "please greet", "please fail", "/cost")
    assert code == 7
    finished = place.events[-1]
    assert isinstance(finished, RunFinished)
    assert finished.status == "model_error"


async def test_ctrl_c_stops_the_call_and_nothing_else(place: Place, backend: str) -> None:
    nap = long_nap()
    turns: Script = [bash(f"echo kept > kept; {nap}"), "I go on."]
    async with ScriptedApi(turns) as api, InPipe.open(place, api, backend) as chat:
        chat.say("please sleep")
        await until_it_runs(nap)
        chat.process.send_signal(signal.SIGINT)
        await chat.see("/undo takes it back")
        assert processes(nap) == []
        assert await chat.end("please go on") == 0
    assert "│ I go on.\n" in chat.said
    asked = Counter(event.id for event in place.events if isinstance(event, ToolStarted))
    answered = [event for event in place.events if isinstance(event, ToolFinished)]
    assert asked == Counter(event.id for event in answered)
    assert [event.content for event in answered] == [BY_USER]
    assert place.delivered("kept") == "kept"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_chat_that_is_told_to_end_keeps_the_work(place: Place, number: int) -> None:
    nap = long_nap()
    async with ScriptedApi([bash(f"echo kept > kept; {nap}")]) as api, InPipe.open(place, api, "docker") as chat:
        chat.say("please sleep")
        await until_it_runs(nap)
        chat.process.send_signal(number)
        assert await chat.process.wait() == 130
    assert processes(nap) == []
    assert place.delivered("kept") == "kept"
    assert isinstance(place.events[-1], RunFinished)
    assert leftovers(place.run.name) == []


async def test_a_reader_that_goes_away_changes_nothing_but_the_screen(place: Place) -> None:
    lines = ["please work", "/help", "/shell", "echo more > more; echo said", "exit", "/diff", "/undo x"]
    async with ScriptedApi([bash("echo kept > kept"), "Done."]) as api:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", '"$@" 2>&1 | head -n 1', "sh", *place.command(SHORT), stdin=PIPE, stdout=PIPE,
            env=place.environment(api),
        )  # fmt: skip
        await process.communicate("".join(f"{line}\n" for line in lines).encode())
    assert (place.delivered("kept"), place.delivered("more")) == ("kept", "more")
    finished = place.events[-1]
    assert isinstance(finished, RunFinished)
    assert finished.status == "done"


async def test_ctrl_c_leaves_a_pipe_that_has_nothing_to_do(place: Place) -> None:
    async with ScriptedApi([bash("echo kept > kept"), "Done."]) as api, InPipe.open(place, api, SHORT) as chat:
        chat.say("please work", "/cost")
        await chat.see("spent ")
        chat.process.send_signal(signal.SIGINT)
        assert await chat.process.wait() == 130
    assert place.delivered("kept") == "kept"


@pytest.mark.docker
async def test_a_lost_sandbox_ends_the_chat_and_what_was_kept_is_delivered(place: Place) -> None:
    turns: Script = [bash("echo kept > kept"), "Done.", bash("echo lost > lost")]
    async with ScriptedApi(turns) as api, InPipe.open(place, api, "docker") as chat:
        chat.say("please work", "/cost")
        await chat.see("spent ")
        client = connect()
        await asyncio.to_thread(client.containers.get(f"dockwright-{place.run.name}").remove, force=True)
        client.close()
        assert await chat.end("please go on", "please more") == 8
    assert "sandbox lost" in chat.said
    assert place.git("ls-tree", "--name-only", f"dockwright/{place.run.name}").split() == [
        *[".gitignore", "README", "kept", "src"]
    ]


async def test_a_wrong_repository_is_a_wrong_configuration(place: Place) -> None:
    nowhere = Place(place.home / "nowhere")
    (place.home / "nowhere").mkdir()
    (nowhere.home / "tester.md").write_text((place.home / "tester.md").read_text())
    async with ScriptedApi() as api:
        said, code = await in_a_pipe(nowhere, api, SHORT, "please")
    assert "does not exist" in " ".join(said.split())
    assert code == 2


async def test_the_shell_keeps_its_place_and_its_work_counts(place: Place, backend: str) -> None:
    lines = [
        "/shell", "cd src", "pwd; echo err >&2; exit 3", "printf 'a\\033[31mb\\r'", "echo mine > mine; cd /", "pwd",
        "mkdir /tmp/gone; cd /tmp/gone", "rmdir /tmp/gone", "true", "pwd", "exit", "please", "/undo",
    ]  # fmt: skip
    async with ScriptedApi([bash("cat src/mine; rm src/mine"), "Seen."]) as api:
        said, code = await in_a_pipe(place, api, backend, *lines)
    assert code == 0
    assert re.search(
        r"/workspace/src\nerr\n +exit 3\na\\x1b\[31mb\\r\n/\n +No such file or directory: /tmp/gone; back to /workspace"
        r"\n/workspace\n",
        said,
    )
    assert [event.content for event in place.events if isinstance(event, ToolFinished)] == ["mine"]
    assert place.delivered("src/mine") == "mine"


async def test_diff_shows_all_or_the_last_message(place: Place) -> None:
    turns: Script = [bash("echo one > one"), "1.", bash("printf 'two\\033[2J\\n' > two"), "2."]
    async with ScriptedApi(turns) as api:
        lines = ["/diff", "/diff last", "please one", "please two", "/diff", "/help", "/diff last", "/diff first"]
        said, _ = await in_a_pipe(place, api, SHORT, *lines)
    assert "Nothing changed." in said
    assert "Nothing was asked yet." in said
    every, last = said.split("/help", 1)[0], said.split("/help", 1)[1]
    assert re.findall(r"^\+\w.*$", every, re.MULTILINE) == ["+one", "+two\\x1b[2J"]
    assert re.findall(r"^\+\w.*$", last, re.MULTILINE) == ["+two\\x1b[2J"]
    assert "/diff shows all changes, /diff last those of the last message." in said


async def test_apply_needs_a_yes_and_can_be_done_again(place: Place) -> None:
    turns: Script = [bash("echo one > README"), "1.", bash("echo two > README; echo new > new"), "2."]
    async with ScriptedApi(turns) as api:
        lines = ["/apply yes", "please one", "/apply", "/apply now", "/apply yes", "please two", "/apply yes"]
        said, _ = await in_a_pipe(place, api, SHORT, *lines, "/apply yes", "/undo 2", "/apply yes")
    flat = " ".join(said.split())
    assert "There is nothing to apply" in flat
    assert f"To put 1 file into {place.repo}, say /apply yes." in flat
    assert "/apply asks first, /apply yes does not." in flat
    assert f"1 file changed in {place.repo}; nothing is staged. turn 3" in flat
    assert flat.count("2 files changed in") == 2
    assert place.git("status", "--porcelain") == ""


async def test_apply_refuses_what_would_meet_the_users_own_work(place: Place) -> None:
    async with ScriptedApi([bash("echo theirs > README"), "1."]) as api, InPipe.open(place, api, SHORT) as chat:
        chat.say("please work", "/cost")
        await chat.see("spent ")
        (place.repo / "README").write_text("mine\n")
        assert await chat.end("/apply yes") == 0
    assert "Nothing was changed." in " ".join(chat.said.split())
    assert (place.repo / "README").read_text() == "mine\n"


async def test_the_small_commands(place: Place) -> None:
    lines = ["please", "/cost", "/agents", "/help", "/udno", "/xyzzy", "//udno", "/"]
    usage = {"input_tokens": 100, "cache_read_input_tokens": 900, "output_tokens": 7}
    async with ScriptedApi([Turn([text("Hello.")], usage=usage)]) as api:
        said, code = await in_a_pipe(place, api, SHORT, *lines)
        assert api.requests[-1].body["messages"][-1]["content"][-1]["text"] == "/udno"
    flat = " ".join(said.split())
    assert re.search(r"spent \$0\.\d+ · 1 turn · [\d.]+ s · 1k tokens in \(90 % cached\) · 7 out", flat)
    assert "backend-engineer Backend development expert" in flat
    for name in ("diff", "undo", "apply", "shell", "cost", "agents", "help", "exit"):
        assert re.search(rf"^/{name} +\S", said, re.MULTILINE)
    assert "There is no command /udno. Did you mean /undo?" in flat
    assert "There is no command /xyzzy. /help lists the commands." in flat
    assert code == 0
