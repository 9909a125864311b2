"""What a run proves in clean sandboxes: an app that answers, migrations, checks that the agent cannot bend, claims."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.running import WRITE, Desk, leftovers
from tests.repositories import write
from tests.sandbox import migration_projects as projects

from dockwright.agent import load
from dockwright.events import ToolFinished
from dockwright.journal import read
from dockwright.report import report_tool, return_format
from dockwright.result import RunResult
from dockwright.testing.scripted_api import Script, ScriptedApi, Turn, tool_use


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, backend="bubblewrap")


def result(desk: Desk) -> RunResult:
    return RunResult.model_validate_json((desk.runs[-1] / "report.json").read_text())


def committed(desk: Desk, files: dict[str, bytes]) -> None:
    write(desk.repo, files)
    desk.git("add", "-A")
    desk.git("-c", "user.name=U", "-c", "user.email=u@example.invalid", "commit", "-q", "-m", "More")


def files(contents: dict[str, bytes]) -> Turn:
    calls = [
        tool_use("Write", {"file_path": f"/workspace/{name}", "content": text.decode()})
        for name, text in contents.items()
    ]
    return Turn(calls)


def report(summary: str = "A program.", entry: str = "sh app.sh") -> Turn:
    return Turn([tool_use("SubmitReport", {"summary": summary, "program": {"language": "sh", "entry_point": entry}})])


def bash(command: str) -> Turn:
    return Turn([tool_use("Bash", {"command": command})])


ADD = files({"app.sh": b"echo hello\n"})


async def test_a_failure_of_the_proof_goes_back_to_the_agent_who_mends_it(desk: Desk) -> None:
    mend = files({"kept.txt": b"x\n"})
    script: Script = [bash("echo x > /tmp/kept"), Turn([WRITE]), report(), "Done.", mend, report("Mended."), "Done."]
    async with ScriptedApi(script) as api:
        code, output = await desk.call(
            api, *desk.arguments("docker", "--check", "cat kept.txt; test -e kept.txt", "--repairs", "2")
        )
        told = api.requests[4].body["messages"][-1]["content"][-1]["text"]
    found = result(desk)
    assert (code, found.status, found.summary) == (0, "verified", "Mended."), output
    assert "cat kept.txt; test -e kept.txt\nIt ended with exit code 1" in told
    assert "cat: kept.txt: No such file" in told
    assert [check.exit_code for check in found.checks] == [0]
    assert leftovers(found.run) == []


async def test_what_passes_for_the_agent_alone_fails_the_run_after_the_last_repair(desk: Desk) -> None:
    check = "cat build/result /tmp/result"
    committed(desk, {".gitignore": b"build/\n"})
    make = bash("mkdir build && echo ok | tee build/result /tmp/result")
    script: Script = [Turn([WRITE]), make, bash(check), report(), "Done.", files({"more.txt": b"x\n"}), "Mended."]
    code, output = await desk.run(script, "--check", check, "--repairs", "1")
    assert (code, result(desk).status) == (3, "checks_failed"), output
    asked = [event for event in read(desk.runs[-1] / "journal.jsonl") if isinstance(event, ToolFinished)]
    assert [event.details.get("exit_code") for event in asked if event.name == "Bash"] == [0, 0]


async def test_a_check_that_the_agent_bent_is_told_and_run_as_it_was(desk: Desk) -> None:
    committed(desk, {"check.sh": b"sh app.sh | grep good\n"})
    bend = files({"check.sh": b"true\n"})
    script: Script = [bend, ADD, report(), "Done."]
    code, output = await desk.run(script, "--check", "sh check.sh", "--repairs", "0")
    found = result(desk)
    assert (code, found.changed_check_files) == (3, ("check.sh",)), output
    assert [(check.on, check.exit_code) for check in found.checks] == [
        ("patch", 0),
        ("patch with the checks of base", 1),
    ]
    assert "changed what the checks stand on (check.sh)" in found.reason
    assert "Check files changed by the agent: `check.sh`" in (desk.runs[-1] / "report.md").read_text()


async def test_a_changed_check_that_passes_both_ways_or_may_be_changed_is_no_reason_to_fail(desk: Desk) -> None:
    committed(desk, {"check.sh": b"sh app.sh | grep hello\n"})
    more = files({"check.sh": b"sh app.sh | grep hello && echo more\n"})
    code, output = await desk.run([more, ADD, report(), "Done."], "--check", "sh check.sh")
    assert (code, len(result(desk).checks)) == (0, 2), output
    free = ("--check", "sh check.sh", "--may-change", "*.sh", "--baseline")
    code, output = await desk.run([files({"check.sh": b"true\n"}), ADD, report(), "Done."], *free)
    found = result(desk)
    assert code == 0, output
    assert {(len(run.checks), len(run.baseline)) for run in map(_result, desk.runs)} == {(2, 0), (1, 1)}, found


def _result(folder: Path) -> RunResult:
    return RunResult.model_validate_json((folder / "report.json").read_text())


SERVER = b"""
import http.server, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[1])); self.end_headers(); self.wfile.write(b"healthy")
http.server.HTTPServer(("127.0.0.1", 8000), Health).serve_forever()
"""


@pytest.mark.parametrize(("status", "probe", "code"), [(200, "", 0), (204, "=204", 0), (500, "", 3)])
async def test_an_app_has_to_start_and_answer_in_the_clean_sandbox(
    desk: Desk, status: int, probe: str, code: int
) -> None:
    script: Script = [files({"app.py": SERVER}), report(), "Done."]
    serve = f"(sleep 4; kill $$) & exec python3 app.py {status}" if code else f"sleep 1; python3 app.py {status}"
    ended, output = await desk.run(
        script, "--serve", serve, "--probe", f"http://localhost:8000/health{probe}", "--repairs", "0"
    )
    check = result(desk).checks[0]
    assert (ended, check.kind, check.exit_code) == (code, "probe", 1 if code else 0), output
    assert f"{status}" in check.output
    assert 'GET /health HTTP/1.1" ' in check.output


@pytest.mark.docker
async def test_a_downgrade_that_breaks_on_rows_of_postgresql_fails_the_run_and_is_named(desk: Desk) -> None:
    committed(desk, projects.alembic(projects.ORDERS))
    broken = files({"migrations/versions/1.py": projects.NOT_DOWN_ON_ROWS})
    proof = ("--services", "postgres", "--check-migrations", "alembic", "--repairs", "0")
    code, output = await desk.run([broken, report(), "Done."], *proof, backend="docker")
    found = result(desk)
    assert (code, [check.exit_code for check in found.checks]) == (3, [0, 1, 0]), output
    assert "downgrade of bb22" in found.reason
    assert "+CREATE TABLE public.lines" in (desk.runs[-1] / "report.md").read_text()
    assert "4 rows made" in found.checks[1].output
    assert "violates foreign key constraint" in found.checks[1].output


async def test_claims_are_proven_stated_or_refuted_by_what_was_seen(desk: Desk) -> None:
    failing = bash("echo '1 failed'; exit 1")
    entry = "It greets [[sh app.sh]]. It is one file [[app.sh]]. Nothing else was needed."
    script: Script = [ADD, bash("sh app.sh"), report(entry=entry), "Done."]
    code, output = await desk.run(script, "--check", "sh app.sh")
    found = result(desk)
    assert code == 0, output
    claims = [(claim.field, claim.text, claim.verdict) for claim in found.claims]
    assert claims == [
        ("summary", "A program.", "stated"),
        ("Language", "sh", "stated"),
        ("Entry Point", "It greets", "proven"),
        ("Entry Point", "It is one file", "proven"),
        ("Entry Point", "Nothing else was needed.", "stated"),
    ]
    (check,), (file,) = found.claims[2].evidence, found.claims[3].evidence
    assert (check.id, check.exit_code, "hello" in check.output, bool(check.container)) == ("p1", 0, True, True)
    assert (file.kind, len(file.sha256 or "")) == ("file", 64)
    assert "5 claims: 2 proven, 3 stated" in (desk.runs[-1] / "report.md").read_text()

    lie: Script = [ADD, failing, report("All tests pass [[echo '1 failed'; exit 1]]."), "Done."]
    code, output = await desk.run(lie, "--check", "sh app.sh")
    refuted = next(found for found in map(_result, desk.runs) if found.status == "unverified")
    assert (code, refuted.claims[0].verdict) == (4, "refuted"), output
    assert 'the report says "All tests pass", but its evidence failed' in refuted.reason


HEADINGS = [
    "API ARCHITECTURE", "DATABASE DESIGN", "SERVICE ARCHITECTURE", "PERFORMANCE OPTIMIZATION",
    "SECURITY IMPLEMENTATION", "TESTING STRATEGY", "DEPLOYMENT & OPERATIONS",
]  # fmt: skip


async def test_the_shipped_persona_reports_under_its_seven_headings_and_a_claim_against_its_evidence_is_refuted(
    desk: Desk,
) -> None:
    persona = Path(__file__).parents[2] / "agents" / "backend-engineer.md"
    asked = report_tool(return_format(load(persona).prompt)).model_fields
    answers = {
        key: dict.fromkeys(field.annotation.model_fields, "Left as it was, since one script needs none of it.")
        for key, field in asked.items()
        if field.annotation not in (str, None)
    }
    answers["testing_strategy"]["unit_testing"] = "All tests pass [[sh tests.sh]]."
    answers["api_architecture"]["framework_choice"] = "It greets [[sh app.sh]]. It is fast."
    handed_in = Turn([tool_use("SubmitReport", {"summary": "A program.", **answers})])
    script: Script = [ADD, bash("sh app.sh"), bash("sh tests.sh"), handed_in, "Done."]
    arguments = [str(persona) if word.endswith("smith.md") else word for word in desk.arguments("bubblewrap")]
    async with ScriptedApi(script) as api:
        code, output = await desk.call(api, *arguments)
    found = result(desk)
    assert (code, found.status, list(found.sections)) == (4, "unverified", HEADINGS), output
    prose = html.unescape((desk.runs[-1] / "report.md").read_text())
    assert re.findall("^### ([A-Z &]+)$", prose, re.MULTILINE) == HEADINGS
    assert [name for fields in found.sections.values() for name in fields if f"**{name}**" not in prose] == []
    claims = {claim.text: claim.verdict for claim in found.claims}
    assert (claims["All tests pass"], claims["It greets"], claims["It is fast."]) == ("refuted", "proven", "stated")
    for marked in ("Refuted: All tests pass: its evidence failed", "It greets [e1]", "It is fast. [stated]"):
        assert marked in prose


async def test_evidence_that_is_none_is_refused_with_what_there_is(desk: Desk) -> None:
    script: Script = [ADD, bash("sh app.sh"), report(entry="It greets [[sh other.sh]]."), report(), "Done."]
    async with ScriptedApi(script) as api:
        code, _ = await desk.call(api, *desk.arguments(desk.backend))
        answer = api.requests[3].body["messages"][-1]["content"][0]
    assert (code, answer["is_error"]) == (0, True)
    assert "- program.entry_point: [[sh other.sh]]" in answer["content"]
    assert "- e1 sh app.sh: exit code 0" in answer["content"]


async def test_all_that_was_asked_for_is_checked_before_a_run_begins(desk: Desk) -> None:
    wrong: dict[str, tuple[str, ...]] = {
        "belong together": ("--serve", "x"),
        "is no address inside": ("--serve", "x", "--probe", "https://example.com/"),
        "is not known": ("--check-migrations", "flyway"),
        "was not asked for": ("--seed", "x"),
    }
    for words, options in wrong.items():
        code, output = await desk.run([], *options)
        assert (code, words in " ".join(output.split())) == (2, True), output
    assert desk.runs == []


async def test_report_prints_prose_json_and_a_page(desk: Desk) -> None:
    await desk.run([ADD, report(), "Done."])
    run = desk.runs[-1].name
    _, json_text = await desk.call(None, "report", run, "--json")
    parsed: dict[str, Any] = json.loads(json_text)
    out = desk.folder / "page.html"
    code, _ = await desk.call(None, "report", run, "--html", "-o", str(out))
    assert (parsed["run"], code, out.read_text().startswith("<!doctype html>")) == (run, 0, True)


async def test_the_commit_is_the_users_by_their_own_git_configuration(desk: Desk) -> None:
    home = desk.folder / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@example.com\n")
    desk.env = {"HOME": str(home)}
    desk.git("config", "user.name", "Not read")
    await desk.run([ADD, report("Greets. In one line [[app.sh]]."), "Done."])
    branch = f"dockwright/{desk.runs[-1].name}"
    said = desk.git("log", "-1", "--format=%an <%ae> %cn: %s", branch)
    assert said == "Ann <ann@example.com> dockwright: Greets. In one line.\n"
