"""Danger: what outlives its call, its timeout or its run, because nobody knew of it or nobody could catch it."""

from __future__ import annotations

import asyncio

import pytest
from tests.adversarial.careless_exec import Careless, careless_sandbox
from tests.adversarial.looking import alive, counting, mark, on_this_machine
from tests.conftest import new_place

from dockwright.sandbox import Sandbox, open_sandbox

# MARK is an argument of the sleeping shells, so that they can be told from all others.
SLEEP = "sh -c 'sleep 311; :' MARK"
DAEMON = (
    "import os, sys, time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    "os.chdir('/'); os.closerange(0, 64)\nwhile True: time.sleep(311)\n"
)
ATTACKS = {
    "deaf to signals": f"trap '' TERM INT HUP QUIT; {SLEEP} & wait; {SLEEP}",
    "a session of its own": f"setsid {SLEEP} & setsid {SLEEP}",
    "forked twice": f"({SLEEP} &) & ( (setsid {SLEEP} &) & ) ; {SLEEP}",
    "nohup": f"nohup {SLEEP} >/dev/null 2>&1 & {SLEEP}",
    "holds the pipe": f"(exec 3>&1; setsid {SLEEP} >&3 2>&3 &) ; {SLEEP}",
    "stopped": f"{SLEEP} & kill -STOP $!; {SLEEP}",
    "a daemon": 'PYTHON -c "$DAEMON" MARK; ' + SLEEP,
}
# Each generation lives for as long as it takes to make the next one, in a session of its own.
RESPAWN = "import os\nwhile True:\n    if os.fork(): os._exit(0)\n    os.setsid()\n"
STORM = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n"


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_timeout_leaves_none_of_it(sandbox: Sandbox, attack: str) -> None:
    mine = mark()
    script = ATTACKS[attack].replace("MARK", mine).replace("PYTHON", f"{sandbox.runtime}/bin/python3")
    done = await sandbox.exec(["sh", "-c", f"echo before; {script}"], env={"DAEMON": DAEMON}, timeout=0.7)
    assert (done.ended, done.stdout, done.job) == ("timeout", b"before\n", None)
    assert await alive(sandbox, mine) == 0


@pytest.mark.docker
@pytest.mark.parametrize("attack", ATTACKS)
async def test_it_outlives_the_timeout_of_a_careless_exec(careless: Careless, attack: str) -> None:
    mine = mark()
    script = ATTACKS[attack].replace("MARK", mine).replace("PYTHON", "python3")
    assert await careless.run(["env", f"DAEMON={DAEMON}", "sh", "-c", script], seconds=0.7) == (None, b"")
    assert int((await careless.run(counting(mine)))[1]) > 0


async def test_what_forks_faster_than_can_be_looked_is_caught(backend: str) -> None:
    async with open_sandbox(new_place(backend, pids=100)) as sandbox:
        for attack in (RESPAWN, STORM):
            mine = mark()
            async with asyncio.timeout(60):
                done = await sandbox.exec(
                    [f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", f"{attack}# {mine}"], timeout=0.5
                )
            assert done.ended in ("timeout", "exit")  # the first of the respawners exits at once
            if done.job:
                async with asyncio.timeout(60):
                    assert (await sandbox.kill(done.job)).status == "killed"
            assert await alive(sandbox, mine) == 0


@pytest.mark.docker
async def test_it_goes_on_where_only_the_client_is_stopped() -> None:
    async with careless_sandbox(pids_limit=100) as careless:
        mine = mark()
        await careless.run(["python3", "-I", "-S", "-c", f"{RESPAWN}# {mine}"], seconds=0.5)
        first, _, last = [int((await careless.run(["sh", "-c", "sleep 0.1; echo $$"]))[1]) for _ in range(3)]
        assert last - first > 50  # ids are given out in turn: somebody forks and forks, too briefly to be looked at


async def test_cancelling_leaves_none_of_it(sandbox: Sandbox) -> None:
    mine = mark()
    script = ATTACKS["forked twice"].replace("MARK", mine)
    call = asyncio.create_task(sandbox.exec(["sh", "-c", script]))
    while await alive(sandbox, mine) < 3:
        await asyncio.sleep(0.02)
    call.cancel()
    await asyncio.wait([call])
    assert await alive(sandbox, mine) == 0


async def test_a_job_that_becomes_a_daemon_is_still_the_job(sandbox: Sandbox) -> None:
    mine = mark()
    python = f"{sandbox.runtime}/bin/python3"
    job = await sandbox.spawn([python, "-I", "-S", "-c", DAEMON, mine])
    while await alive(sandbox, mine) == 0:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert (await sandbox.poll(job.id)).status == "running"
    assert (await sandbox.kill(job.id)).status == "killed"
    assert await alive(sandbox, mine) == 0


async def test_jobs_end_with_the_run(backend: str) -> None:
    mine = mark()
    async with open_sandbox(new_place(backend)) as sandbox:
        await sandbox.spawn(["sh", "-c", SLEEP.replace("MARK", mine)])
        await sandbox.spawn(["sh", "-c", f"setsid {SLEEP.replace('MARK', mine)}"])
        while await alive(sandbox, mine) < 2:
            await asyncio.sleep(0.02)
        assert list(on_this_machine(mine)) != []
    assert list(on_this_machine(mine)) == []
