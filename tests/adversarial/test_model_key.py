"""The model's key: in the memory of one process, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.adversarial.careless import careless, child_environment
from tests.conftest import BACKENDS
from tests.e2e.running import KEY, PROGRAM, Desk

from dockwright.config import ModelSettings
from dockwright.sandbox.engine import LABEL, connect
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

CRASH = """
import os
from dockwright.cli.home import host, load_config
config = load_config()
host(config)
local = config.model.api_key.get_secret_value()
assert "ANTHROPIC_API_KEY" not in os.environ
def fail(headers):
    raise RuntimeError(f"a request failed: {headers} {config!r}")
fail({"x-api-key": local})
"""


def recording_git(folder: Path) -> str:
    """A PATH whose git notes what it was given before it is git; each other child of ours is noted by /proc."""
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "bin").mkdir()
    (folder / "bin/git").write_text(f'#!/bin/sh\n(env; echo "$@") >> {folder}/seen\nexec {real} "$@"\n')
    (folder / "bin/git").chmod(0o755)
    return f"{folder}/bin:{os.environ['PATH']}"


def of_children(process: int) -> bytes:
    """Arguments and environments of all processes that a process started."""
    said = b""
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        said += Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
        said += of_children(int(child))
    return said


@pytest.mark.parametrize("backend", BACKENDS)
async def test_no_child_no_argument_and_no_container_is_given_it(tmp_path: Path, backend: str) -> None:
    desk = Desk(tmp_path, env={"PATH": recording_git(tmp_path)})
    look = tool_use("Bash", {"command": "env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"})
    async with ScriptedApi([Turn([look]), Turn([tool_use("Bash", {"command": "sleep 60"})])]) as api:
        process = await desk.start(api, *desk.arguments(backend))
        async with asyncio.timeout(60):
            while not any(b"sleep 60" in run.joinpath("journal.jsonl").read_bytes() for run in desk.runs):
                await asyncio.sleep(0.1)
        children = of_children(process.pid)
        inspected = inspect(desk.runs[-1].name) if backend == "docker" else ""
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.terminate()
        printed, _ = await process.communicate()
    assert KEY in json.dumps(dict(api.requests[0].headers))
    assert (b"bwrap" in children) == (backend == "bubblewrap")
    assert ("sandbox" in inspected) == (backend == "docker")
    seen = {"children": children, "inspect": inspected.encode(), "arguments": arguments, "printed": printed}
    seen["git"] = (tmp_path / "seen").read_bytes()
    seen |= {path.name: path.read_bytes() for path in desk.runs[-1].iterdir() if path.is_file()}
    assert seen["git"].count(b"GIT_CONFIG_NOSYSTEM=1") > 3
    assert [name for name, data in seen.items() if KEY.encode() in data] == []


def inspect(run: str) -> str:
    client = connect()
    try:
        return json.dumps([c.attrs for c in client.containers.list(filters={"label": f"{LABEL}={run}"})])
    finally:
        client.close()


@pytest.mark.docker
async def test_a_child_and_a_container_without_care_are_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    child = subprocess.run(["env"], env=child_environment(), capture_output=True, text=True, check=True)
    assert KEY in child.stdout
    async with careless(tmp_path, child_environment()) as sh:
        assert KEY in await sh("cat /proc/1/environ")
        assert KEY in inspect("careless")


def test_a_crash_tells_everything_but_the_key(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANTHROPIC_API_KEY": KEY}
    env["ANTHROPIC_CUSTOM_HEADERS"] = f"Authorization: Bearer {KEY[::-1]}"
    done = subprocess.run([sys.executable, "-c", CRASH], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "RuntimeError: a request failed" in done.stderr, KEY in done.stderr) == (1, True, False)
    assert "[ANTHROPIC_API_KEY]" in done.stderr
    assert KEY[::-1] not in done.stderr


def test_a_crash_without_care_tells_it() -> None:
    script = f"raise RuntimeError('x-api-key: {KEY}')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert KEY in done.stderr


def test_settings_do_not_show_what_is_secret_in_them() -> None:
    env = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": KEY, "ANTHROPIC_CUSTOM_HEADERS": f"Authorization: {KEY}"}
    settings = ModelSettings.from_environment({**env, "HTTPS_PROXY": f"http://user:{KEY}@proxy.example:3128"})
    assert (KEY in repr(settings), KEY in str(settings), settings.proxy is None) == (False, False, False)


def test_a_key_in_the_configuration_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "dockwright").mkdir()
    (tmp_path / "dockwright/config.toml").write_text(f'[model]\napi_key = "{KEY}"\n')
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    done = subprocess.run([PROGRAM, "doctor"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "where keys do not belong" in done.stderr, KEY in done.stderr) == (2, True, False)
