"""`dockwright doctor`: each fault of a machine has a line of its own with cause and cure, an exit code, and is found in
little time."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path

import pytest
from tests.adversarial.careless import SOCKET
from tests.e2e.running import KEY, PROGRAM, Desk

from dockwright.testing.scripted_api import ScriptedApi

ROOT = os.getuid() == 0  # to be another user and to mount takes root
OTHERS, MOUNTS = ([4321], ["tmpfs"]) if ROOT else ([], [])


async def doctor(folder: Path, **env: str) -> tuple[int, str]:
    """Exit code and lines, each a line again. It may not take long, whatever is broken."""
    folder.joinpath("desk").mkdir(exist_ok=True)
    desk = Desk(folder / "desk", env={"COLUMNS": "500", **env})
    async with ScriptedApi([]) as api:
        began = time.monotonic()
        code, said = await desk.call(api, "doctor")
        assert time.monotonic() - began < 30  # 10 s on a machine that has nothing else to do
    return code, re.sub(r" +", " ", said)


@pytest.mark.docker
async def test_a_sound_machine_has_a_line_for_each_thing_and_exit_code_0(tmp_path: Path) -> None:
    code, said = await doctor(tmp_path)
    assert code == 0, said
    for line in ("ok engine", "ok users", "ok networks", "ok image", "ok docker", "ok git", "ok runs", "ok model API"):
        assert f"\n{line}" in f"\n{said}"
    assert "starts and holds" in said
    assert KEY not in said


async def test_faults_that_come_together_are_all_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 no\r\nDate: Tue, 01 Jan 2019 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text('#!/bin/sh\necho "git version 2.20.1"\n')
    (tmp_path / "bin/git").chmod(0o755)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        env = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "", "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
        code, said = await doctor(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/none.sock", **env)
    assert code == 2
    assert f"fail engine unix://{tmp_path}/none.sock (DOCKER_HOST): there is no socket" in said
    assert "systemctl start docker" in said
    assert "git version 2.20.1: 2.31 or later is needed. Update it" in said
    assert "s ahead of the model API's. Set it: sudo timedatectl set-ntp true" in said
    assert "fail model key none. Set ANTHROPIC_API_KEY" in said


async def test_an_engine_that_is_not_running_and_a_model_api_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead, socket.socket() as unused:
        dead.bind(str(tmp_path / "dead.sock"))
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        code, said = await doctor(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/dead.sock", ANTHROPIC_BASE_URL=url)
    assert (code, "nobody listens there: the engine is not running" in said) == (2, True)
    assert f"fail model API {url} does not answer" in said


async def test_a_socket_that_takes_the_call_and_says_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen(8)
        code, said = await doctor(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/mute.sock")
    assert (code, "says nothing for 4 s" in said, "systemctl restart docker" in said) == (2, True, True)


@pytest.mark.parametrize("uid", OTHERS)
def test_a_socket_that_may_not_be_opened(tmp_path: Path, uid: int) -> None:
    with socket.socket(socket.AF_UNIX) as closed:
        closed.bind(str(tmp_path / "closed.sock"))
        os.chmod(tmp_path / "closed.sock", 0o600)
        closed.listen(1)
        for folder in (tmp_path, *list(tmp_path.parents)[:-2]):
            folder.chmod(folder.stat().st_mode | 0o055)
        script = (
            "import os, sys\nfrom dockwright.doctor.engine import examine_engine\nimport docker\n"
            f"os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
            f"[line] = examine_engine({{'DOCKER_HOST': 'unix://{tmp_path}/closed.sock'}})\nprint(*line)"
        )
        python = str(Path(PROGRAM).with_name("python"))
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
    assert "fail engine" in done.stdout, done.stderr
    assert "you may not open it. Join its group (sudo usermod -aG docker $USER" in done.stdout


async def test_the_context_of_the_docker_command_line_is_followed(tmp_path: Path) -> None:
    meta = tmp_path / "docker/contexts/meta" / sha256(b"far").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "far", "Endpoints": {"docker": {"Host": f"unix://{tmp_path}/far.sock"}}}))
    (tmp_path / "docker/config.json").write_text('{"currentContext": "far"}')
    _, said = await doctor(tmp_path, DOCKER_CONFIG=str(tmp_path / "docker"))
    assert f"unix://{tmp_path}/far.sock (the context far): there is no socket" in said


@pytest.mark.docker
async def test_no_address_range_is_left_for_a_network(tmp_path: Path) -> None:
    taken = [f"172.{second}.0.0/16" for second in range(17, 32)]
    taken += [f"192.168.{third}.0/20" for third in range(0, 256, 16)]
    full = [{"Name": net, "Id": net, "IPAM": {"Config": [{"Subnet": net}]}} for net in taken]
    async with engine_that_says(("/networks", full), tmp_path / "full.sock"):
        code, said = await doctor(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/full.sock")
    assert code == 2
    assert "fail networks all 31 address ranges are taken: no network can be made. Remove networks" in said


@pytest.mark.parametrize("kind", MOUNTS)
async def test_a_full_disk(tmp_path: Path, kind: str) -> None:
    state = tmp_path / "full"
    state.mkdir()
    subprocess.run(["mount", "-t", kind, "-o", "size=1m", "none", str(state)], check=True)
    try:
        code, said = await doctor(tmp_path, XDG_STATE_HOME=str(state), DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
    assert code == 2
    assert re.search(r"fail runs 0\.0 GiB free in \S+: a run would fill it\. Make room: dockwright gc", said)


@asynccontextmanager
async def engine_that_says(answer: tuple[str, object], path: Path) -> AsyncIterator[None]:
    """The real engine, but for its answer to one question."""
    question, said = answer

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split()[1].partition(b"?")[0].endswith(question.encode()):
                body = json.dumps(said).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            else:
                there, engine = await asyncio.open_unix_connection(str(SOCKET))
                line, _, rest = head.partition(b"\r\n")
                close = b"" if b"upgrade" in head.lower() else b"\r\nConnection: close"
                engine.write(line + close + b"\r\n" + re.sub(rb"(?i)connection: keep-alive\r\n", b"", rest))
                pumps = [asyncio.create_task(pump(reader, engine)), asyncio.create_task(pump(there, writer))]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pumping in pumps:
                    pumping.cancel()
                engine.close()
        writer.close()

    async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                to.write(data)
                await to.drain()

    async with await asyncio.start_unix_server(relay, str(path)):
        yield
