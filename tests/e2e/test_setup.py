"""The setup of a project: run as root once, kept as an image, there for the agent and for the proof."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.running import REPORT, Desk, leftovers

from dockwright.sandbox.engine import connect
from dockwright.testing.scripted_api import Turn, tool_use

pytestmark = pytest.mark.docker

LOOK = "cat /usr/local/share/tool node_modules/dep && id -u && ! touch /usr/local/x 2> /dev/null && git status --short"


@pytest.fixture
def setup() -> Iterator[str]:
    """A command that nobody has run before; the images that it makes are removed."""
    mark = uuid.uuid4().hex
    yield (
        f"echo {mark} > /usr/local/share/tool && mkdir -p node_modules && echo dep > node_modules/dep && "
        "echo new > not-ignored && cat requirements.txt && id -u"
    )
    client = connect()
    for image in client.images.list(name="dockwright/setup"):
        if mark in str(image.labels):
            client.images.remove(str(image.id), force=True)
    client.close()


def project(folder: Path) -> Desk:
    desk = Desk(folder)
    (desk.repo / ".gitignore").write_text("node_modules/\n")
    (desk.repo / "requirements.txt").write_text("flask\n")
    return desk


async def test_a_setup_is_run_once_and_is_there_for_the_agent_and_the_proof(tmp_path: Path, setup: str) -> None:
    desk = project(tmp_path)
    look = tool_use("Bash", {"command": LOOK})
    write = tool_use("Write", {"file_path": "/workspace/app.sh", "content": "echo hello\n"})
    check = "cat /usr/local/share/tool node_modules/dep"
    script: list[Turn | str] = [Turn([look]), Turn([write]), Turn([REPORT]), "Done."]
    code, said = await desk.run(script, "--setup", setup, "--check", check)
    assert code == 0, said
    assert "Setting up, once" in said
    assert "not-ignored" in said
    first = desk.runs[0]
    results = [json.loads(line) for line in (first / "journal.jsonl").read_text().splitlines()]
    seen = next(event["content"] for event in results if event["type"] == "tool.finished")
    assert seen.split() == [setup.split()[1], "dep", "1000"]
    assert sorted(leftovers("setup-")) == []
    code, said = await desk.run([Turn([write]), Turn([REPORT]), "Done."], "--setup", setup)
    assert code == 0, said
    assert "Setting up, once" not in said
    (desk.repo / "requirements.txt").write_text("django\n")
    code, said = await desk.run([Turn([write]), Turn([REPORT]), "Done."], "--setup", setup)
    assert code == 0, said
    assert "Setting up, once" in said


async def test_a_setup_that_fails_ends_the_run_before_the_first_turn_with_what_it_said(tmp_path: Path) -> None:
    desk = project(tmp_path)
    code, said = await desk.run(["never asked"], "--setup", "echo no such package; exit 7")
    assert code == 2
    assert "The setup ended with exit code 7" in said
    assert "no such package" in said
    assert leftovers(desk.runs[0].name) == []
