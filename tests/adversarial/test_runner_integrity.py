"""Danger: the agent's processes end, stop, read or speak for the program that carries calls out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest
from tests.adversarial.careless_exec import Careless
from tests.adversarial.looking import alive, mark
from tests.conftest import new_place

from dockwright.errors import Interrupted, SandboxLost
from dockwright.sandbox import Place, Sandbox, open_sandbox
from dockwright.sandbox.channel import Stream
from dockwright.sandbox.engine import connect

# Everything that is not ourselves: what could be opened of it, and written into it.
PRY = """
import os, sys
mine, taken = {os.getpid()}, []
for name in filter(str.isdigit, os.listdir("/proc")):
    if int(name) in mine:
        continue
    for part in ("mem", "environ", "fd", "maps", "root", "cwd"):
        path = f"/proc/{name}/{part}"
        try:
            if part == "mem":
                os.close(os.open(path, os.O_RDWR))
            elif part == "environ":
                open(path, "rb").read(1)
            elif part == "maps":
                open(path, "rb").read(1) or sys.exit("empty")
            else:
                os.listdir(path)
        except OSError:
            continue
        taken.append(part)
print(*sorted(set(taken)))
"""
STOP_ALL = "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = $$ ] || kill -STOP $p; done; echo stopped; sleep 300"


async def test_the_agent_looks_into_no_process_of_ours(sandbox: Sandbox) -> None:
    done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", PRY])
    assert (done.stdout, done.stderr) == (b"\n", b"")


async def test_the_agent_looks_into_no_program_of_ours_either(sandbox: Sandbox) -> None:
    """It is the agent's user, and of one memory with the runner it came from."""
    await sandbox.exec(["mkfifo", "begun", "looked"])
    ours = asyncio.create_task(sandbox.python("open('begun', 'w').close(); print(open('looked').read())", timeout=60))
    look = f"open('begun').close()\n{PRY}\nopen('looked', 'w').write('they did')"
    done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", look], timeout=60)
    assert (done.stdout, done.stderr, (await ours).stdout) == (b"\n", b"", b"they did\n")


@pytest.mark.docker
async def test_it_looks_into_every_process_of_a_careless_container(careless: Careless) -> None:
    _, output = await careless.run(["python3", "-I", "-S", "-c", PRY])
    assert output.split() == [b"cwd", b"environ", b"fd", b"maps", b"mem", b"root"]


@pytest.mark.parametrize("number", ["KILL", "STOP", "SEGV"])
async def test_what_signals_all_it_can_reach_ends_at_most_itself(backend: str, number: str) -> None:
    async with open_sandbox(new_place(backend)) as sandbox:
        mine = mark()
        script = (
            f"sh -c 'sleep 320; :' {mine} & "
            f"for p in /proc/[0-9]*; do p=${{p#/proc/}}; [ $p = $$ ] || kill -{number} $p; done; sleep 300"
        )
        async with asyncio.timeout(60):
            done = await sandbox.exec(["sh", "-c", script], timeout=2)
        assert done.ended == ("timeout" if backend == "docker" else "killed")
        assert await alive(sandbox, mine) == 0
        assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"


@pytest.mark.docker
async def test_in_a_careless_container_it_ends_everybody_elses_work(careless: Careless) -> None:
    work = asyncio.create_task(
        careless.run(["python3", "-c", "import time; print('work', flush=True); time.sleep(30)"])
    )
    await asyncio.sleep(1)
    await careless.sh("for p in $(pgrep -f time.sleep); do kill -9 $p; done")
    assert (await work)[0] == 137


async def test_a_job_whose_watcher_was_killed_is_gone_with_all_of_it(backend: str) -> None:
    async with open_sandbox(new_place(backend)) as sandbox:
        mine = mark()
        inner = f"kill -9 $PPID; setsid sh -c 'sleep 321; :' {mine} & sleep 0.3; sh -c 'sleep 321; :' {mine}"
        job = await sandbox.spawn(["sh", "-c", inner])
        if backend == "docker":  # it cannot
            while await alive(sandbox, mine) < 2:
                await asyncio.sleep(0.02)
            assert (await sandbox.kill(job.id)).status == "killed"
        async with asyncio.timeout(30):
            while (await sandbox.poll(job.id)).status == "running":
                await asyncio.sleep(0.02)
        assert await alive(sandbox, mine) == 0


async def test_no_descriptor_leads_to_the_stream(sandbox: Sandbox) -> None:
    """What is printed is output, whatever it looks like; and there is no way to where frames are read."""
    forged = b"\x00\x00\x00\x02\x04\x00\x00\x00\x01{}" * 3
    script = "import os, sys\nos.write(1, sys.stdin.buffer.read())\nprint(len(os.listdir('/proc/self/fd')))"
    done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", script], stdin=forged)
    assert (done.stdout, done.exit_code) == (forged + b"5\n", 0)  # 0, 1, 2, 9 and the listing itself


async def test_after_its_runner_died_a_sandbox_goes_on_with_another(backend: str) -> None:
    place = new_place(backend)
    async with open_sandbox(place) as sandbox:
        served: list[int] = []

        def accept(stream: Stream, _: object) -> None:
            served.append(stream.number)
            stream.cancel()

        await sandbox.listen(3999, accept)
        await sandbox.write("/workspace/kept", b"kept")
        mine = mark()
        await sandbox.spawn(["sh", "-c", f"trap '' TERM; setsid sh -c 'sleep 322; :' {mine}"])
        call = asyncio.create_task(sandbox.exec(["sleep", "300"]))
        while await alive(sandbox, mine) == 0:
            await asyncio.sleep(0.02)
        await _kill_runner(place, sandbox)
        async with asyncio.timeout(40):
            with pytest.raises(Interrupted, match=r"interrupted: .*files are as they were"):
                await call
            assert await alive(sandbox, mine) == 0
        assert await sandbox.read("/workspace/kept") == b"kept"
        reach = "import socket\nsocket.create_connection(('127.0.0.1', 3999)).recv(1)"
        await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", reach], timeout=10)
        assert len(served) == 1


async def test_a_sandbox_whose_runners_keep_dying_is_lost(backend: str) -> None:
    place = new_place(backend)
    async with open_sandbox(place) as sandbox:
        async with asyncio.timeout(60):
            for _ in range(3):
                await _kill_runner(place, sandbox)
                await sandbox.channel.lost
                assert await sandbox.read("/proc/version")
            await _kill_runner(place, sandbox)
            await sandbox.channel.lost
            with pytest.raises(SandboxLost, match=place.id):
                await sandbox.read("/proc/version")


async def _kill_runner(place: Place, sandbox: Sandbox) -> None:
    """As nobody inside can."""
    if place.backend == "docker":
        client = connect()
        container = client.containers.get(f"dockwright-{place.id}")
        await asyncio.to_thread(container.exec_run, ["/bin/kill", "-9", str(sandbox.line.answer["pid"])], user="0:0")
        client.close()
        return
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, parent = path.read_text().split("(")[1].split(")")[0], path.read_text().rpartition(")")[2].split()[1]
            if name == "bwrap" and int(parent) == os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)
