"""Danger: capabilities, setuid programs and device nodes, from which a process becomes more than the agent."""

from __future__ import annotations

import pytest
from tests.adversarial.careless_exec import Careless

from dockwright.sandbox import Sandbox

# One line for each thing that worked.
TRY = r"""
mknod zero c 1 5 2>/dev/null && echo device
: > mine; chown 0:0 mine 2>/dev/null && [ "$(stat -c %u mine)" = 0 ] && [ "$(id -u)" = 0 ] && echo owner
mount -t tmpfs none /mnt 2>/dev/null && echo mount
echo x 2>/dev/null > /etc/planted && echo planted
hostname other 2>/dev/null && echo hostname
chroot / true 2>/dev/null && echo chroot
cat /proc/1/environ >/dev/null 2>&1 && echo environ
ls /root >/dev/null 2>&1 && echo root
true
"""
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
RUNNER = 0xE0  # KILL, SETGID, SETUID


async def test_nothing_of_it_works(sandbox: Sandbox) -> None:
    assert (await sandbox.exec(["sh", "-c", TRY])).stdout == b""


@pytest.mark.docker
async def test_all_of_it_works_in_a_careless_container(careless: Careless) -> None:
    _, output = await careless.sh(TRY)
    assert output.split() == [b"device", b"owner", b"mount", b"planted", b"hostname", b"chroot", b"environ", b"root"]
    await careless.sh("umount /mnt; rm /etc/planted")


async def test_every_capability_set_is_empty_the_bounding_set_too(sandbox: Sandbox) -> None:
    status = _status((await sandbox.exec(["cat", "/proc/self/status"])).stdout)
    assert {status[name] for name in SETS} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


async def test_no_process_beside_the_agents_has_more_than_it_needs(sandbox: Sandbox) -> None:
    script = "for p in /proc/[0-9]*; do cat $p/status; echo ---; done 2>/dev/null"
    found = [_status(text) for text in (await sandbox.exec(["sh", "-c", script])).stdout.split(b"---\n") if text]
    assert len(found) > 2
    for status in found:
        assert int(status["CapEff"], 16) & ~RUNNER == 0, status["Name"]
        assert int(status["CapBnd"], 16) == 0, status["Name"]


async def test_setuid_programs_give_nothing(sandbox: Sandbox) -> None:
    script = (
        "cp /bin/sh mine; chmod 6755 mine; ./mine -c 'id -u; id -g'; "
        "for su in /bin/su /usr/bin/su; do echo | $su -c 'id -u' root 2>/dev/null; done; true"
    )
    done = await sandbox.exec(["sh", "-c", script])
    assert done.stdout in (b"1000\n1000\n", b"1000\n1000\n1000\n1000\n")


def _status(text: bytes) -> dict[str, str]:
    lines = text.decode("utf-8", "replace").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
