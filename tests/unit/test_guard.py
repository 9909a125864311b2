"""The system call filter, read as the kernel reads it, for machines that are not at hand as well."""

from __future__ import annotations

import errno
import struct

import pytest

from dockwright.sandbox.runner.guard import ALLOW, KILL, MACHINES, REFUSE, REFUSED, filter_for

EPERM, ENOSYS, FAMILY = (REFUSE | number for number in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT))


def verdict(code: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Classic BPF, as far as filters of ours go, over a struct seccomp_data."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * 6)[:6])
    lines = list(struct.iter_unpack("=HBBI", code))
    value, at = 0, 0
    while True:
        what, holds, fails, operand = lines[at]
        at += 1
        match what:
            case 0x20:
                value = struct.unpack_from("<I", data, operand)[0]
            case 0x15:
                at += holds if value == operand else fails
            case 0x35:
                at += holds if value >= operand else fails
            case 0x45:
                at += holds if value & operand else fails
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"not known: {what:#x}")


@pytest.mark.parametrize("machine", MACHINES)
def test_each_refused_call_is_refused_and_its_neighbours_are_not(machine: str) -> None:
    code, (architecture, numbers) = filter_for(machine), MACHINES[machine]
    refused = {pair[0 if machine == "x86_64" else -1] for pair in REFUSED.values()}
    special = {numbers[name] for name in ("socket", "clone", "ioctl")} | {435}
    found = {number for number in range(600) if verdict(code, architecture, number) == EPERM}
    assert found == refused
    assert all(verdict(code, architecture, n) == ALLOW for n in range(600) if n not in refused | special)


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_are_looked_at_by_what_the_kernel_takes_of_them(machine: str) -> None:
    code, (architecture, numbers) = filter_for(machine), MACHINES[machine]
    families = {family for family in range(64) if verdict(code, architecture, numbers["socket"], family) == ALLOW}
    assert families == {1, 2, 10, 16}
    assert verdict(code, architecture, numbers["socket"], 40) == FAMILY
    thread, namespace = 0x003D0F00, 0x10000011
    assert verdict(code, architecture, numbers["clone"], thread) == ALLOW
    assert verdict(code, architecture, numbers["clone"], namespace) == EPERM
    for command in (0x5412, 0x541C, 0x100005412):
        assert verdict(code, architecture, numbers["ioctl"], 0, command) == EPERM
    assert verdict(code, architecture, numbers["ioctl"], 0, 0x5401) == ALLOW
    assert verdict(code, architecture, 435) == ENOSYS


def test_no_other_architecture_is_let_in_beside_the_machines_own() -> None:
    code = filter_for("x86_64")
    assert verdict(code, 0x40000003, 20) == KILL  # i386
    assert verdict(code, 0xC000003E, 0x40000000 + 39) == ENOSYS  # x32
