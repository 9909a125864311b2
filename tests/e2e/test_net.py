"""The network as the user and the model see it: what was denied, by which call, and how to allow it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tests.e2e.running import WORK, Desk

from dockwright.result import RunResult
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

pytestmark = pytest.mark.docker
ASK = "curl -sS https://{0}/; curl -sS https://{0}/; curl -sS http://{0}:8080/; true"
LINES = [
    "[network: denied other.example.org:443: only shop.example.org may be reached]",
    "[network: denied other.example.org:8080: only shop.example.org may be reached]",
]


async def test_a_denied_host_is_told_to_the_model_the_user_and_the_report_and_can_be_learned(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    asking = tool_use("Bash", {"command": ASK.format("other.example.org")})
    async with ScriptedApi([Turn([asking]), Turn([tool_use("Bash", {"command": "true"})]), *WORK]) as api:
        words = ("allow=shop.example.org" if word == "none" else word for word in desk.arguments("docker"))
        code, output = await desk.call(api, *words)
        results = [
            block["content"]
            for message in api.requests[-1].body["messages"]
            for block in message["content"]
            if block["type"] == "tool_result"
        ]
    assert code == 0, output
    first, second = (str(result) for result in results[:2])
    assert [first.count(line) for line in LINES] == [1, 1]
    assert "[network" not in second
    assert "boundary  closed" in output
    assert "other.example.org:443 denied" in " ".join(output.split())
    folder = desk.runs[-1]
    denied = RunResult.model_validate_json((folder / "report.json").read_text()).network
    assert {(asked.host, asked.port, asked.call is not None) for asked in denied} == {
        ("other.example.org", 443, True), ("other.example.org", 8080, True),
    }  # fmt: skip
    report = (folder / "report.md").read_text()
    assert "## Denied by the network policy" in report
    assert "`other.example.org:8080`" in report
    code, learned = await desk.call(None, "net", "learn", folder.name[:6])
    flags, _, config = learned.partition("\n\n")
    assert flags == "--net other.example.org --net other.example.org:8080"
    assert tomllib.loads(config)["sandbox"]["network"] == ["other.example.org", "other.example.org:8080"]


async def test_a_run_that_asked_for_nothing_teaches_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    await desk.run(WORK, backend="bubblewrap")
    assert await desk.call(None, "net", "learn", desk.runs[-1].name) == (0, "The run asked nothing of the network.\n")
