"""Ways out beside the gateway. Each is tried at every start from inside, and a sandbox that has one is never used: an
engine that opens a hole in what it makes ends the run before the model is asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.adversarial.careless_engine import Hole, careless_engine
from tests.adversarial.network import open_network
from tests.conftest import ROOTFS
from tests.e2e.running import WORK, Desk, leftovers

from dockwright.errors import BoundaryError, ExitCode
from dockwright.events import BoundaryTested, from_line
from dockwright.result import RunResult
from dockwright.sandbox import ExecResult, Sandbox, open_sandbox
from dockwright.sandbox.boundary import PROBES, addresses, probe_boundary
from dockwright.sandbox.bubblewrap import Bubblewrap
from dockwright.testing.scripted_api import ScriptedApi

pytestmark = pytest.mark.docker


def on_the_host(wanted: dict[str, Any]) -> None:
    wanted["HostConfig"]["NetworkMode"] = "host"
    wanted["NetworkDisabled"] = False
    del wanted["Hostname"]


def with_the_engine(wanted: dict[str, Any]) -> None:
    wanted["HostConfig"].setdefault("Binds", []).append("/var/run/docker.sock:/var/run/docker.sock")


def with_the_processes(wanted: dict[str, Any]) -> None:
    wanted["HostConfig"]["PidMode"] = "host"


def boundary_of(desk: Desk) -> list[BoundaryTested]:
    lines = (desk.runs[-1] / "journal.jsonl").read_bytes().splitlines()
    return [event for event in map(from_line, lines) if isinstance(event, BoundaryTested)]


@pytest.mark.parametrize(
    ("hole", "leaks"),
    [
        (on_the_host, {"interfaces", "this machine", "gateways", "metadata", "direct", "abstract sockets"}),
        (with_the_processes, {"processes"}),
        (with_the_engine, {"unix sockets"}),
    ],
)
async def test_a_hole_ends_the_run_before_the_first_model_call(tmp_path: Path, hole: Hole, leaks: set[str]) -> None:
    await ended_by(tmp_path, hole, leaks)


async def test_a_bridge_ends_the_run_before_the_first_model_call(tmp_path: Path) -> None:
    with open_network() as network:

        def on_it(wanted: dict[str, Any]) -> None:
            wanted["HostConfig"]["NetworkMode"] = network
            wanted["NetworkDisabled"] = False

        await ended_by(tmp_path, on_it, {"interfaces", "this machine", "metadata", "direct"})


async def ended_by(tmp_path: Path, hole: Hole, leaks: set[str]) -> None:
    desk = Desk(tmp_path)
    async with careless_engine(tmp_path, hole) as engine, ScriptedApi(WORK) as api:
        desk.env = {"DOCKER_HOST": engine}
        code, output = await desk.call(api, *desk.arguments("docker"))
        assert (code, len(api.requests)) == (ExitCode.SANDBOX, 0), output
    assert [leaks <= set(tested.leaks) for tested in boundary_of(desk)] == [True], output
    result = RunResult.model_validate_json((desk.runs[-1] / "report.json").read_text())
    assert (result.status, all(leak in result.reason for leak in leaks)) == ("sandbox_lost", True)
    assert "boundary" in output
    assert leftovers(desk.runs[-1].name) == []


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Path]:
    """A service of the host on a socket that everybody may connect to."""
    tmp_path.chmod(0o755)
    path = tmp_path / "service.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        yield path


async def test_a_socket_of_the_host_that_is_mounted_ends_the_run(tmp_path: Path, listener: Path) -> None:
    def mounted(wanted: dict[str, Any]) -> None:
        wanted["HostConfig"].setdefault("Binds", []).append(f"{listener}:/opt/service")

    desk = Desk(tmp_path)
    async with careless_engine(tmp_path, mounted) as engine, ScriptedApi(WORK) as api:
        desk.env = {"DOCKER_HOST": engine}
        code, output = await desk.call(api, *desk.arguments("docker"))
        assert (code, len(api.requests)) == (ExitCode.SANDBOX, 0), output
    assert boundary_of(desk)[0].leaks == ("unix sockets",)


class Shared(Bubblewrap):
    """Careless: it shares the network of the host."""

    def _command(self, bwrap: str, runtime: str, workspace: Path) -> list[str]:
        words = super()._command(bwrap, runtime, workspace)
        words.remove("--unshare-all")
        at = words.index("--unshare-user")
        return [*words[:at], "--unshare-pid", "--unshare-uts", "--unshare-ipc", *words[at:]]


async def test_a_shared_network_is_found_under_bubblewrap_too() -> None:
    async with open_sandbox(Shared(ROOTFS, "test-shared")) as sandbox:
        found = await probe_boundary(sandbox)
        assert {"interfaces", "this machine", "direct", "abstract sockets"} <= set(found.leaks)
        with pytest.raises(BoundaryError, match="is not closed: interfaces"):
            found.raise_for_leaks(sandbox)


class Careless(Sandbox):
    """It runs what lies there instead of what it is given."""

    instead: Sequence[str] = ()

    async def python(self, *_: str, **options: Any) -> ExecResult:
        return await self.exec(self.instead, **options)


@pytest.mark.parametrize("program", ["echo {}", "exit 0", "echo oops; exit 1", "echo '[]'", "kill -9 $$", "sleep 60"])
async def test_a_probe_that_says_nothing_of_use_is_no_proof(program: str) -> None:
    async with open_sandbox(Bubblewrap(ROOTFS, "test-silent")) as sandbox:
        careless = Careless(**vars(sandbox))
        careless.instead = ["sh", "-c", program]
        with pytest.raises(BoundaryError, match="could not be tested"):
            await probe_boundary(careless, seconds=2)
        careless.instead = ["/no/such"]
        with pytest.raises(BoundaryError, match="could not be tested"):
            await probe_boundary(careless)


async def test_an_honest_sandbox_is_closed(sandbox: Sandbox) -> None:
    found = await probe_boundary(sandbox)
    assert (found.leaks, set(found.outcomes)) == ((), set(PROBES))


async def test_programs_inside_find_no_way_but_the_gateway(sandbox: Sandbox) -> None:
    """The same with the tools that an agent has."""
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        own = [address for address in addresses() if ":" not in address]
        hosts = [f"http://{host}:{port}/" for host in (*own, "1.1.1.1", "169.254.169.254")]
        for url in hosts:
            done = await sandbox.exec(["curl", "-sS", "--noproxy", "*", "-m", "3", url])
            assert done.exit_code == 7, done.stderr  # could not connect
    done = await sandbox.exec(["getent", "hosts", "pypi.example.org"])
    assert done.exit_code == 2
