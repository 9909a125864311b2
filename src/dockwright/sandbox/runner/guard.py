"""What the runner and all it starts may ask of the kernel: which capabilities, and which system calls.

Both are given up once, before anything of the agent's is there, and what is forked later inherits it. The filter adds
to the engine's own (that of older engines lets vsock, io_uring, ptrace and AF_ALG through) and is the only one under
bubblewrap. Where it cannot be installed the runner does not start: there is no going on without.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
CAP_KILL, CAP_SETGID, CAP_SETUID = 5, 6, 7
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 4, 24, 28, 38, 47
SECBIT_NOROOT_LOCKED = 0b11  # to be uid 0 gives no capability, not even by an exec

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000  # of a filter; REFUSE is with an errno
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24  # where seccomp_data holds them: arguments by their low half
X32 = 0x40000000
NAMESPACES = 0x7E020000  # CLONE_NEW*: mount, cgroup, uts, ipc, user, pid, net
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

# By machine: the architecture as the kernel audits it, and the numbers of the calls that are looked into.
MACHINES = {
    "x86_64": (0xC000003E, {"socket": 41, "clone": 56, "ioctl": 16, "seccomp": 317}),
    "aarch64": (0xC00000B7, {"socket": 198, "clone": 220, "ioctl": 29, "seccomp": 277}),
}
CLONE3 = 435  # its flags lie in memory, where no filter looks; libraries fall back to clone
# Refused: number on x86_64, number on aarch64 where it is another.
REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438,), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "open_by_handle_at": (304, 265), "mount": (165, 40),
    "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428,), "move_mount": (429,),
    "fsopen": (430,), "fsconfig": (431,), "fsmount": (432,), "fspick": (433,), "mount_setattr": (442,),
    "open_tree_attr": (467,), "io_uring_setup": (425,), "io_uring_enter": (426,), "io_uring_register": (427,),
    "unshare": (272, 97), "setns": (308, 268), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "quotactl": (179, 60),
    "quotactl_fd": (443,), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89),
}  # fmt: skip


def give_up_capabilities() -> None:
    """Keep what changes to the agent's user and signals its processes. Nothing that is executed later gets any."""
    for capability in range(64):
        if LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            if ctypes.get_errno() == errno.EINVAL:  # beyond the last that the kernel knows
                break
            raise OSError(ctypes.get_errno(), "dropping the bounding set")
    LIBC.prctl(PR_CAP_AMBIENT, 4, 0, 0, 0)  # clear all; an old kernel has none
    keep = 1 << CAP_KILL | 1 << CAP_SETGID | 1 << CAP_SETUID
    if LIBC.prctl(PR_SET_SECUREBITS, SECBIT_NOROOT_LOCKED, 0, 0, 0) or LIBC.capset(
        struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", keep, keep, 0, 0, 0, 0)
    ):
        raise OSError(ctypes.get_errno(), "dropping capabilities")


def close_in() -> None:
    """No new privileges, the filter, and no look into our memory; for good, and for every child."""
    machine = os.uname().machine
    if machine not in MACHINES:
        raise OSError(errno.ENOSYS, f"there is no system call filter for {machine}")
    LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    code = filter_for(machine)
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    number = ctypes.c_long(MACHINES[machine][1]["seccomp"])
    for flags in (4, 0):  # 4: no slower branches for it, which not every kernel knows
        if LIBC.syscall(number, ctypes.c_long(1), ctypes.c_long(flags), program) == 0:
            break
    else:
        raise OSError(ctypes.get_errno(), "the system call filter cannot be installed")
    hide()


def hide() -> None:
    """No look into our memory, which a change of the user may have allowed."""
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def filter_for(machine: str) -> bytes:
    architecture, numbers = MACHINES[machine]
    refused = [pair[0 if machine == "x86_64" else -1] for pair in REFUSED.values()]
    # (what, its operand, label where it holds, label where it does not); no label is the next line.
    lines: list[tuple[int, int, str, str] | str] = [
        (LOAD, ARCHITECTURE, "", ""), (EQUAL, architecture, "", "foreign"), (LOAD, NUMBER, "", ""),
        (AT_LEAST, X32, "unknown", ""), (EQUAL, numbers["socket"], "socket", ""),
        (EQUAL, numbers["clone"], "clone", ""), (EQUAL, numbers["ioctl"], "ioctl", ""),
        (EQUAL, CLONE3, "unknown", ""),
        *((EQUAL, number, "refuse", "") for number in refused), (RETURN, ALLOW, "", ""),
        "socket", (LOAD, FIRST, "", ""),
        *((EQUAL, family, "allow", "") for family in (UNIX, INET, INET6, NETLINK)),
        (RETURN, REFUSE | errno.EAFNOSUPPORT, "", ""),
        "clone", (LOAD, FIRST, "", ""), (ANY_BIT, NAMESPACES, "refuse", "allow"),
        "ioctl", (LOAD, SECOND, "", ""), (EQUAL, TIOCSTI, "refuse", ""), (EQUAL, TIOCLINUX, "refuse", "allow"),
        "allow", (RETURN, ALLOW, "", ""),
        "refuse", (RETURN, REFUSE | errno.EPERM, "", ""),
        "unknown", (RETURN, REFUSE | errno.ENOSYS, "", ""),
        "foreign", (RETURN, KILL, "", ""),
    ]  # fmt: skip
    labels: dict[str, int] = {}
    code: list[tuple[int, int, str, str]] = []
    for line in lines:
        if isinstance(line, str):
            labels[line] = len(code)
        else:
            code.append(line)

    def jump(label: str, at: int) -> int:
        return labels[label] - at - 1 if label else 0

    return b"".join(
        struct.pack("=HBBI", what, jump(holds, at), jump(fails, at), operand)
        for at, (what, operand, holds, fails) in enumerate(code)
    )


def file_rights_of(uid: int, gid: int) -> None:
    """Let the permissions of files count as this user's, and nobody's groups."""
    os.setgroups([])
    LIBC.setfsgid(gid)
    LIBC.setfsuid(uid)


def first_to_go() -> None:
    """Where memory runs out, what comes after this call is killed before the runner. Best effort."""
    mine = LIBC.setfsuid(0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
        file.write(b"500")
    LIBC.setfsuid(mine)
