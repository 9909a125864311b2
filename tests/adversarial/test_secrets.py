"""Secrets of the user and the model's key: not in the sandbox, not in the journal, report, branch, patch, terminal or
environment of a child, in whatever form they leak."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.adversarial.careless import careless, child_environment, contained
from tests.conftest import BACKENDS, new_place
from tests.e2e.running import KEY, REPORT, Desk

from dockwright.sandbox import open_sandbox
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

SECRET = 'tok/5f2c+9d-"quoted"-8a71'
FORMS = {SECRET, json.dumps(SECRET)[1:-1], quote(SECRET, safe=""), SECRET.encode().hex()}
FORMS |= {base64.b64encode(SECRET.encode()).decode()[:-4]}
# From a file that the repository tracks: as it is, in two pieces, encoded, and written on into two files.
LEAK = """
cat token.txt
head -c 9 token.txt; sleep 0.3; tail -c +10 token.txt
base64 -w0 token.txt; od -An -tx1 -v token.txt | tr -d ' \\n'
cp token.txt copy.txt; echo "edited" >> token.txt; echo fine > fine.txt
env
"""


def leaky(folder: Path) -> Desk:
    """A desk whose repository tracks the secret, and whose user names it."""
    desk = Desk(folder, env={"SHOP_TOKEN": SECRET})
    (desk.repo / "token.txt").write_text(SECRET)
    desk.git("add", ".")
    desk.git("-c", "user.name=U", "-c", "user.email=u@example.invalid", "commit", "-q", "-m", "Oops")
    return desk


async def attack(desk: Desk, *arguments: str) -> tuple[str, list[str], dict[str, str]]:
    """Run the leak. What was printed, what the model was sent, and every file of the run by name."""
    async with ScriptedApi([Turn([tool_use("Bash", {"command": LEAK})]), Turn([REPORT]), "Done."]) as api:
        _, printed = await desk.call(api, *desk.arguments("bubblewrap", *arguments)[:-1], f"Use {SECRET}")
        sent = [json.dumps(request.body) for request in api.requests]
    run = desk.runs[-1]
    kept = [path for path in run.iterdir() if path.is_file()]
    return printed, sent, {path.name: path.read_text("utf-8", "replace") for path in kept}


@pytest.mark.bubblewrap
@pytest.mark.parametrize("output", ["text", "json", "json-lines"])
async def test_a_named_secret_is_in_nothing_that_is_printed_sent_kept_or_delivered(tmp_path: Path, output: str) -> None:
    desk = leaky(tmp_path)
    printed, sent, kept = await attack(desk, "--secret", "SHOP_TOKEN", "--output", output)
    for name, text in {"terminal": printed, "requests": "\n".join(sent), **kept}.items():
        assert [form for form in (*FORMS, KEY) if form in text] == [], name
    assert "[SHOP_TOKEN]" in printed
    assert "[SHOP_TOKEN]" in kept["journal.jsonl"]
    assert {"journal.jsonl", "report.md", "report.json", "changes.patch"} <= kept.keys()
    branch = f"dockwright/{desk.runs[-1].name}"
    assert desk.git("diff", "--name-only", f"main..{branch}").split() == ["fine.txt", "token.txt"]
    assert "fine.txt" in kept["changes.patch"]
    assert "token.txt" not in kept["changes.patch"]
    assert "copy.txt: it holds the secret SHOP_TOKEN" in printed
    assert "the patch is without token.txt: it holds the secret SHOP_TOKEN" in kept["journal.jsonl"]


@pytest.mark.bubblewrap
async def test_a_secret_that_nobody_named_gets_everywhere(tmp_path: Path) -> None:
    desk = leaky(tmp_path)
    printed, sent, kept = await attack(desk)
    assert all(SECRET in text for text in (printed, kept["changes.patch"]))
    assert all(json.dumps(SECRET)[1:-1] in text for text in ("\n".join(sent), kept["journal.jsonl"]))


@pytest.mark.parametrize("backend", BACKENDS)
async def test_nothing_of_the_hosts_environment_is_inside(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    async with open_sandbox(new_place(backend)) as sandbox:
        sh = contained(sandbox)
        assert SECRET not in await sh("env; cat /proc/self/environ; cat /proc/*/environ 2>/dev/null")


@pytest.mark.docker
async def test_it_is_in_a_container_that_was_given_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    async with careless(tmp_path, {"SHOP_TOKEN": child_environment()["SHOP_TOKEN"]}) as sh:
        assert SECRET in await sh("env")


async def test_a_secret_that_is_not_there_starts_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    code, said = await desk.run(["never asked"], "--secret", "NOWHERE")
    assert (code, "The secret NOWHERE is not in the environment" in said, desk.runs) == (2, True, [])


@pytest.mark.bubblewrap
async def test_a_secret_can_be_a_file(tmp_path: Path) -> None:
    desk = leaky(tmp_path)
    (tmp_path / "token").write_text(SECRET + "\n")
    printed, _, kept = await attack(desk, "--secret", f"TOKEN={tmp_path}/token")
    assert SECRET not in printed
    assert "[TOKEN]" in kept["journal.jsonl"]


def test_the_scripted_key_is_long_enough_to_be_looked_for() -> None:
    assert len(KEY) >= 16
    assert KEY not in os.environ.values()
