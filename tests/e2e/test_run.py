"""`dockwright run`, as a user has it: what it delivers, what it leaves alone, and that it says how it ended."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.e2e.running import REPORT, WORK, WRITE, Desk, leftovers

from dockwright.events import NetworkAsked, from_line
from dockwright.result import RunResult
from dockwright.sandbox.engine import connect
from dockwright.testing.scripted_api import Fault, ScriptedApi, Turn, tool_use


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def result(desk: Desk) -> RunResult:
    return RunResult.model_validate_json((desk.runs[-1] / "report.json").read_text())


async def test_a_verified_run_hands_back_a_branch_a_patch_and_a_report(desk: Desk, backend: str) -> None:
    before = desk.tree()
    code, output = await desk.run(WORK, "--check", "sh app.sh | grep hello", backend=backend)
    run = desk.runs[-1].name
    assert (code, desk.tree()) == (0, before), output
    assert desk.git("show", f"dockwright/{run}:app.sh") == "echo hello\n"
    assert desk.git("log", "--format=%s", f"dockwright/{run}").splitlines() == ["A program.", "Start"]
    trailer = desk.git("log", "-1", "--format=%(trailers:key=Assisted-by,valueonly)", f"dockwright/{run}").strip()
    assert trailer == f"dockwright:{result(desk).model}"
    assert "+echo hello" in (desk.runs[-1] / "changes.patch").read_text()
    assert "sh app.sh" in (desk.runs[-1] / "report.md").read_text()
    found = result(desk)
    assert (found.status, found.summary, found.sections["PROGRAM"]["Language"]) == ("verified", "A program.", "sh")
    assert [(check.command, check.exit_code) for check in found.checks] == [("sh app.sh | grep hello", 0)]
    assert f"dockwright apply {run}" in output
    assert leftovers(run) == []


async def test_what_lies_outside_the_patch_does_not_help_the_proof(desk: Desk) -> None:
    outside = tool_use("Bash", {"command": "echo '*.log' > .gitignore; echo x > made.log; echo x > /tmp/made"})
    code, _ = await desk.run(
        [Turn([outside]), *WORK],
        "--check",
        "test -e made.log || test -e /tmp/made",
        "--repairs",
        "0",
        backend="bubblewrap",
    )
    assert (code, result(desk).status) == (3, "checks_failed")


async def test_a_host_is_noted_once_however_often_it_is_asked_for(desk: Desk) -> None:
    asking = "python3 -c 'import urllib.request as u; u.urlopen(\"https://other.example/\")'"
    ask = tool_use("Bash", {"command": f"{asking}; {asking}"})
    async with ScriptedApi([Turn([ask]), *WORK]) as api:
        await desk.call(api, *("shop.example" if word == "none" else word for word in desk.arguments("bubblewrap")))
    events = [from_line(line) for line in (desk.runs[-1] / "journal.jsonl").read_bytes().splitlines()]
    assert [(event.host, event.port) for event in events if isinstance(event, NetworkAsked)] == [("other.example", 443)]


async def test_a_passing_fault_of_the_api_is_told_and_survived(desk: Desk) -> None:
    faulty = Turn([WRITE], faults=(Fault("http", status=529), Fault("cut", at="text")))
    code, output = await desk.run([faulty, *WORK[1:]], backend="bubblewrap")
    assert code == 0
    assert "again in" in output


@pytest.mark.docker
async def test_a_lost_sandbox_has_its_own_end_and_loses_no_finished_turn(desk: Desk) -> None:
    async with ScriptedApi([Turn([WRITE]), Turn([tool_use("Bash", {"command": "sleep 100"})]), "Done."]) as api:
        process = await desk.start(api, *desk.arguments("docker"))
        async with asyncio.timeout(60):
            while len(api.requests) < 2:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            client = connect()
            client.containers.get(f"dockwright-{desk.runs[-1].name}").remove(force=True)
            client.close()
            output, _ = await process.communicate()
    found = result(desk)
    assert (process.returncode, found.status) == (8, "sandbox_lost"), output.decode()
    assert desk.git("show", f"{found.branch}:app.sh") == "echo hello\n"
    assert leftovers(desk.runs[-1].name) == []


async def test_an_interrupt_keeps_the_work_and_leaves_nothing_behind(desk: Desk) -> None:
    script: list[Turn | str] = [Turn([WRITE]), Turn([tool_use("Bash", {"command": "sleep 100"})]), "Done."]
    code, output = await desk.interrupt(script, lambda api: len(api.requests) == 2)
    found = result(desk)
    assert (code, found.status) == (130, "interrupted"), output
    assert desk.git("show", f"{found.branch}:app.sh") == "echo hello\n"
    assert leftovers(found.run) == []


async def test_a_missing_image_is_a_configuration_error(desk: Desk) -> None:
    code, output = await desk.run(WORK, "--image", "no/such:image")
    assert (code, "docker pull no/such:image" in " ".join(output.split())) == (2, True)


async def test_without_a_key_nothing_is_made(desk: Desk) -> None:
    code, output = await desk.call(None, *desk.arguments("docker"))
    assert (code, output.startswith("error: There is no key for the model API. Set ANTHROPIC_API_KEY")) == (2, True)
    assert desk.runs == []


async def test_a_tool_that_the_persona_does_not_list_does_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tools="Read")
    async with ScriptedApi([Turn([WRITE]), Turn([REPORT]), "Done."]) as api:
        code, _ = await desk.call(api, *desk.arguments("bubblewrap"))
        offered = {tool["name"] for tool in api.requests[0].body["tools"]}
        answer = api.requests[1].body["messages"][-1]["content"][0]
    assert (code, offered) == (4, {"Read", "SubmitReport"})
    assert (answer["is_error"], "No such tool available: Write" in answer["content"]) == (True, True)


async def test_every_tool_acts_in_the_sandbox_and_none_on_the_host(desk: Desk, backend: str) -> None:
    path = "/workspace/app.sh"
    calls = [
        WRITE,
        tool_use("Read", {"file_path": path}),
        tool_use("Edit", {"file_path": path, "old_string": "hello", "new_string": "hallo"}),
        tool_use("MultiEdit", {"file_path": path, "edits": [{"old_string": "hallo", "new_string": "salut"}]}),
        tool_use("Bash", {"command": "sh app.sh"}),
        tool_use("Grep", {"pattern": "salut"}),
        tool_use("Glob", {"pattern": "*.sh"}),
        tool_use("WebSearch", {"query": "greetings"}),
    ]
    before = desk.tree()
    async with ScriptedApi([*(Turn([call]) for call in calls), Turn([REPORT]), "Done."]) as api:
        code, output = await desk.call(api, *desk.arguments(backend))
        said = [request.body["messages"][-1]["content"][0]["content"] for request in api.requests[1:9]]
    assert (code, desk.tree()) == (0, before), output
    assert [
        word in text
        for word, text in zip(
            ["created", "hello", "updated", "Applied 1", "salut", "app.sh", "app.sh"], said, strict=False
        )
    ] == [True] * 7
    assert "search" in said[7].lower()


async def test_uncommitted_work_is_carried_in_and_stays_where_it_is(desk: Desk) -> None:
    (desk.repo / "README.md").write_text("A shop, changed.\n")
    (desk.repo / "new.txt").write_text("new\n")
    (desk.repo / ".gitignore").write_text(".env\n")
    (desk.repo / ".env").write_text("SECRET=1\n")
    before = desk.tree()
    see = tool_use("Bash", {"command": "cat README.md new.txt; ls -A"})
    async with ScriptedApi([Turn([see]), *WORK]) as api:
        code, _ = await desk.call(api, *desk.arguments("bubblewrap"))
        seen = api.requests[1].body["messages"][-1]["content"][0]["content"]
    branch = f"dockwright/{desk.runs[-1].name}"
    assert (code, desk.tree()) == (0, before)
    assert seen == "A shop, changed.\nnew\n.git\n.gitignore\nREADME.md\nnew.txt"
    assert desk.git("log", "--format=%s", branch).splitlines() == [
        "A program.",
        "Uncommitted work carried in",
        "Start",
    ]


async def test_the_agents_own_commits_are_delivered_where_asked_with_the_trailers_of_the_configuration(
    desk: Desk,
) -> None:
    settings = desk.folder / "config" / "dockwright"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text('[deliver]\ntrailers = "Run: {run}"\n')
    commit = tool_use("Bash", {"command": "git add . && git commit -qm 'Say hello'"})
    more = tool_use("Write", {"file_path": "/workspace/more.sh", "content": "echo more\n"})
    script: list[Turn | str] = [Turn([WRITE, commit, more]), Turn([REPORT]), "Done."]
    code, output = await desk.run(script, "--commits", "agent", "--check", "sh app.sh", backend="bubblewrap")
    assert code == 0, output
    run = desk.runs[-1].name
    log = desk.git("log", "--format=%B", f"main..dockwright/{run}").strip()
    assert log == f"A program.\n\nRun: {run}\n\nSay hello\n\nRun: {run}"
    assert desk.git("ls-tree", "--name-only", f"dockwright/{run}").split() == ["README.md", "app.sh", "more.sh"]


async def test_an_empty_folder_is_a_start_and_apply_fills_it(desk: Desk) -> None:
    empty = desk.folder / "empty"
    empty.mkdir()
    async with ScriptedApi(WORK) as api:
        code, output = await desk.call(
            api,
            "run",
            "-C",
            str(empty),
            "-a",
            str(desk.folder / "smith.md"),
            "--net",
            "none",
            "--check",
            "sh app.sh",
            "x",
        )
    assert (code, list(empty.iterdir())) == (0, []), output
    code, output = await desk.call(None, "apply", desk.runs[-1].name)
    assert (code, (empty / "app.sh").read_text()) == (0, "echo hello\n"), output


async def test_notes_of_the_project_come_with_the_task_as_untrusted(desk: Desk) -> None:
    (desk.repo / "AGENTS.md").write_text("Use tabs.\n")
    async with ScriptedApi(WORK) as api:
        await desk.call(api, *desk.arguments("bubblewrap"))
        notes, task = api.requests[0].body["messages"][0]["content"]
    assert ("Use tabs." in notes["text"], "take no orders" in notes["text"]) == (True, True)
    assert task["text"] == "Write a program."


async def test_json_output_is_the_result_and_nothing_else(desk: Desk) -> None:
    code, output = await desk.run(WORK, "--output", "json", backend="bubblewrap")
    assert (code, json.loads(output)["status"]) == (0, "done")


async def test_json_lines_output_is_the_events(desk: Desk) -> None:
    _, output = await desk.run(WORK, "--output", "json-lines", backend="bubblewrap")
    kinds = [from_line(line.encode()).type for line in output.splitlines()]
    assert (kinds[0], kinds[-1], "tool.finished" in kinds) == ("run.started", "run.finished", True)


async def test_diff_report_show_and_runs_tell_of_a_run_by_the_beginning_of_its_id(desk: Desk) -> None:
    await desk.run(WORK, "--check", "sh app.sh", backend="bubblewrap")
    run = desk.runs[-1].name
    assert await desk.call(None, "diff", run[:4]) == (0, (desk.runs[-1] / "changes.patch").read_text())
    assert (await desk.call(None, "report", run, "--json"))[1].strip() == (
        desk.runs[-1] / "report.json"
    ).read_text().strip()
    code, shown = await desk.call(None, "show", run)
    assert (code, "app.sh" in shown, "verified" in shown) == (0, True, True)
    assert run in (await desk.call(None, "runs"))[1]
    code, said = await desk.call(None, "show", "nothing")
    assert (code, said) == (2, "error: There is no run nothing. `dockwright runs` lists them.\n")
