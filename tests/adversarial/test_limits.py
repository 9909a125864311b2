"""Danger: bombs. Processes, memory, disk, inodes, descriptors and output, each without end."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tests.adversarial.careless_exec import Careless, careless_sandbox
from tests.conftest import new_place

from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.tools import TOOLS
from dockwright.tools.base import ToolContext

MIB = 1 << 20
FORK = (
    "import os, time\nmade = 0\nfor _ in range(200):\n    try:\n        if os.fork() == 0:\n"
    "            time.sleep(300); os._exit(0)\n    except OSError: break\n    made += 1\nprint(made, flush=True)\n"
)
EAT = "import os\nkept = []\nfor _ in range(600): kept.append(b'x' * (1 << 20))\nprint(len(kept))\n"
OPEN = (
    "import os\nkept = []\ntry:\n    while len(kept) < 6000: kept.append(os.open('/dev/null', 0))\n"
    "except OSError: pass\nprint(len(kept))\n"
)
FILL = "i=0; while [ $i -lt 100 ]; do head -c 4000000 /dev/zero > big$i; i=$((i+1)); sleep 0.02; done; echo whole"
FILES = (
    "import os, time\nfor n in range(20000):\n    if n % 100 == 0: os.mkdir(str(n)); time.sleep(0.01)\n"
    "    open(f'{n // 100 * 100}/{n}', 'w').close()\nprint('whole')\n"
)


async def test_processes_are_as_many_as_allowed_and_the_sandbox_stays_usable(backend: str) -> None:
    async with open_sandbox(new_place(backend, pids=64)) as sandbox:
        python = [f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c"]
        done = await sandbox.exec([*python, FORK])
        assert int(done.stdout) < 64
        assert done.job is not None
        assert (await sandbox.kill(done.job)).status == "killed"
        assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"


async def test_what_is_out_of_memory_is_killed_and_said_and_the_sandbox_goes_on(backend: str) -> None:
    async with open_sandbox(new_place(backend, memory=256 * MIB)) as sandbox:
        done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", EAT])
        assert (done.exit_code, done.stdout, done.oom) == (137, b"", True)
        assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"


async def test_descriptors_are_limited_for_each_process(sandbox: Sandbox) -> None:
    done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", OPEN])
    assert int(done.stdout) < 4096


async def test_a_command_that_fills_the_disk_is_stopped_and_told(backend: str) -> None:
    async with open_sandbox(new_place(backend, disk=64 * MIB)) as sandbox:
        bash = TOOLS["Bash"].model_validate({"command": FILL})
        told = await bash.run(ToolContext(sandbox))
        assert "Command was stopped, because it filled the disk of the sandbox" in told.text
        assert re.search(r"take \d+ MiB, .*64 MiB and 1,000,000 are allowed", told.text)
        used = int((await sandbox.exec(["du", "-sm", "/workspace"])).stdout.split()[0])
        assert 60 < used < 600
        assert (await sandbox.exec(["sh", "-c", "rm big*"])).ended == "exit"  # there is a way back
        assert (await sandbox.exec(["sh", "-c", "sleep 1; echo fine"])).stdout == b"fine\n"


async def test_what_is_hidden_from_the_count_counts(backend: str) -> None:
    hide = "mkdir hidden && cd hidden && (head -c 150000000 /dev/zero > big; chmod 0 ../hidden; sleep 20); echo whole"
    async with open_sandbox(new_place(backend, disk=64 * MIB)) as sandbox:
        done = await sandbox.exec(["sh", "-c", hide])
        assert (done.ended, b"whole" in done.stdout) == ("disk", False)


async def test_one_file_is_never_larger_than_the_disk_may_be(backend: str) -> None:
    async with open_sandbox(new_place(backend, disk=64 * MIB)) as sandbox:
        done = await sandbox.exec(["sh", "-c", "truncate -s 1T sparse; fallocate -l 10G big; stat -c %s sparse big"])
        assert all(int(size) <= 64 * MIB for size in done.stdout.split())


async def test_a_command_that_makes_files_without_end_is_stopped(backend: str) -> None:
    async with open_sandbox(new_place(backend, inodes=3000)) as sandbox:
        done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", FILES])
        assert (done.ended, b"and 3,000 are allowed" in done.stdout) == ("disk", True)


async def test_more_output_than_is_kept_costs_this_process_nothing(backend: str) -> None:
    async with open_sandbox(new_place(backend)) as sandbox:
        await sandbox.exec(["true"])
        before = _peak()
        bash = TOOLS["Bash"].model_validate({"command": "yes 0123456789abcde | head -c 300M", "timeout": 300_000})
        told = await bash.run(ToolContext(sandbox))
        assert _peak() - before < 64 * MIB
        found = re.search(
            r"Output too large \(300.0MB\)\. The first 25[56]\.\dMB of it were saved to: (\S+)", told.text
        )
        assert found is not None, told.text[:500]
        read = TOOLS["Read"].model_validate({"file_path": found[1], "offset": 1000, "limit": 3})
        assert (await read.run(ToolContext(sandbox))).text.count("0123456789abcde") == 3
        grep = TOOLS["Grep"].model_validate({"pattern": "abc", "path": found[1], "output_mode": "count"})
        assert "167" in (await grep.run(ToolContext(sandbox))).text  # millions and more, of 16 bytes each, in 256 MiB


@pytest.mark.docker
async def test_in_a_careless_container_every_bomb_goes_off(careless: Careless) -> None:
    python = ["python3", "-I", "-S", "-c"]
    assert (await careless.run([*python, FORK.replace("sleep(300)", "sleep(1)")]))[1] == b"200\n"
    assert (await careless.run([*python, EAT]))[1] == b"600\n"
    assert (await careless.run([*python, OPEN]))[1] == b"6000\n"
    assert (await careless.sh(FILL))[1] == b"whole\n"
    assert (await careless.run([*python, FILES]))[1] == b"whole\n"
    assert (await careless.sh("truncate -s 1T sparse; stat -c %s sparse"))[1] == b"1099511627776\n"


@pytest.mark.docker
async def test_the_output_of_a_careless_exec_fills_this_process() -> None:
    async with careless_sandbox() as careless:
        before = _peak()
        _, output = await careless.sh("yes 0123456789abcde | head -c 134217728")
        assert len(output) == 128 * MIB
        assert _peak() - before > 64 * MIB


async def test_many_bombs_at_once_leave_a_sandbox_that_answers(backend: str) -> None:
    async with open_sandbox(new_place(backend, pids=64, memory=512 * MIB)) as sandbox:
        python = [f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c"]
        bombs = (FORK.replace("range(200)", "range(20)"), EAT, OPEN)
        async with asyncio.timeout(120):
            for job in [await sandbox.spawn([*python, bomb]) for bomb in bombs]:
                await sandbox.kill(job.id)
        assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"


def _peak() -> int:
    """Of the memory of this process, in bytes, since it was last asked."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) << 10
