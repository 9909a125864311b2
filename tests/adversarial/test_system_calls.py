"""Danger: the kernel's rarely used doors. Each call here reaches it in a careless container, and not in ours."""

from __future__ import annotations

import json

import pytest
from tests.adversarial.careless_exec import Careless

from dockwright.sandbox import Sandbox

# Each is asked for in a child, with arguments that do no harm; what the kernel said is printed as {name: errno}.
PROBE = """
import ctypes, errno, json, mmap, os, platform, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
column = 0 if platform.machine() == "x86_64" else 1
def call(*numbers):
    def ask(*arguments):
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(numbers[min(column, len(numbers) - 1)]), *map(ctypes.c_long, arguments))
        return ctypes.get_errno() if result == -1 else 0
    return ask
def family(number, kind=socket.SOCK_RAW, protocol=0):
    try:
        socket.socket(number, kind, protocol).close()
    except OSError as error:
        return error.errno
    return 0
def foreign():
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(bytes.fromhex("b814000000cd80c3"))  # getpid, as a 32-bit program asks for it
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()
    return 0
PROBES = {
    "ptrace": lambda: call(101, 117)(0, 0, 0, 0),
    "process_vm_readv": lambda: call(310, 270)(os.getpid(), 0, 0, 0, 0, 0),
    "process_vm_writev": lambda: call(311, 271)(os.getpid(), 0, 0, 0, 0, 0),
    "pidfd_getfd": lambda: call(438)(-1, 0, 0),
    "keyctl": lambda: call(250, 219)(0, -3, 0),
    "add_key": lambda: call(248, 217)(0, 0, 0, 0, 0),
    "request_key": lambda: call(249, 218)(0, 0, 0, 0),
    "bpf": lambda: call(321, 280)(9999, 0, 0),
    "perf_event_open": lambda: call(298, 241)(0, 0, -1, -1, 0),
    "open_by_handle_at": lambda: call(304, 265)(-1, 0, 0),
    "mount": lambda: call(165, 40)(0, 0, 0, 0, 0),
    "umount2": lambda: call(166, 39)(0, 0),
    "pivot_root": lambda: call(155, 41)(0, 0),
    "chroot": lambda: call(161, 51)(0),
    "open_tree": lambda: call(428)(-1, 0, 0),
    "move_mount": lambda: call(429)(-1, 0, -1, 0, 0),
    "fsopen": lambda: call(430)(0, 0),
    "fsconfig": lambda: call(431)(-1, 0, 0, 0, 0),
    "fsmount": lambda: call(432)(-1, 0, 0),
    "fspick": lambda: call(433)(-1, 0, 0),
    "mount_setattr": lambda: call(442)(-1, 0, 0, 0, 0),
    "io_uring_setup": lambda: call(425)(1, 0),
    "io_uring_enter": lambda: call(426)(-1, 0, 0, 0, 0, 0),
    "io_uring_register": lambda: call(427)(-1, 0, 0, 0),
    "unshare": lambda: call(272, 97)(0x20000),
    "setns": lambda: call(308, 268)(-1, 0),
    "init_module": lambda: call(175, 105)(0, 0, 0),
    "finit_module": lambda: call(313, 273)(-1, 0, 0),
    "quotactl": lambda: call(179, 60)(0x800007, 0, 0, 0),
    "clone into a namespace": lambda: call(56, 220)(0x10000000 | 0x40000000, 0, 0, 0, 0),
    "clone3": lambda: call(435)(0, 0),
    "TIOCSTI": lambda: call(16, 29)(1, 0x5412, 0),
    "TIOCSTI in 64 bits": lambda: call(16, 29)(1, (1 << 40) | 0x5412, 0),
    "TIOCLINUX": lambda: call(16, 29)(1, 0x541C, 0),
    "vsock": lambda: family(40, socket.SOCK_STREAM),
    "packet": lambda: family(17),
    "raw": lambda: family(2, socket.SOCK_RAW, 1),
    "a family without a kernel": lambda: family(38, socket.SOCK_SEQPACKET),
    "foreign machine code": foreign,
}
found = {}
for name, probe in PROBES.items():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = probe()
        os.write(write, str(said).encode())
        os._exit(0)
    os.close(write)
    status = os.waitpid(child, 0)[1]
    found[name] = int(os.read(read, 20) or 0) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    os.close(read)
print(json.dumps(found))
"""
EPERM, ENOSYS, EAFNOSUPPORT, SIGSYS = 1, 38, 97, 31
ANSWERS = {
    "clone3": ENOSYS, "vsock": EAFNOSUPPORT, "packet": EAFNOSUPPORT, "a family without a kernel": EAFNOSUPPORT,
    "foreign machine code": -SIGSYS,
}  # fmt: skip
# What does not tell the two apart on every kernel: without AF_ALG that family is refused everywhere.
SAME_ANYWHERE = {"a family without a kernel"}


async def test_no_rare_system_call_reaches_the_kernel(sandbox: Sandbox) -> None:
    done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", PROBE])
    found = json.loads(done.stdout)
    assert found == {name: ANSWERS.get(name, EPERM) for name in found}


@pytest.mark.docker
async def test_all_of_them_reach_it_in_a_careless_container(careless: Careless) -> None:
    _, output = await careless.run(["python3", "-I", "-S", "-c", PROBE])
    found = json.loads(output)
    assert [name for name, said in found.items() if said == ANSWERS.get(name, EPERM)] == sorted(SAME_ANYWHERE)


async def test_what_programs_need_still_works(sandbox: Sandbox) -> None:
    script = (
        "import multiprocessing as m, socket, subprocess, threading\n"
        "thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()\n"
        "print(subprocess.run(['sh', '-c', 'echo child'], capture_output=True).stdout.decode().strip())\n"
        "with m.Pool(2) as pool: print(pool.map(abs, [-1, -2]))\n"
        "for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):\n"
        "    socket.socket(family, socket.SOCK_STREAM if family < 16 else socket.SOCK_RAW).close()\n"
        "server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname())\n"
        "print('sockets')\n"
    )
    done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-c", script], merge=True)
    assert done.stdout.split(b"\n") == [b"thread", b"child", b"[1, 2]", b"sockets", b""]


async def test_the_filter_is_on_top_of_the_engines_own(sandbox: Sandbox) -> None:
    status = (await sandbox.exec(["cat", "/proc/self/status"])).stdout.decode()
    found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert (found["Seccomp"], found["Seccomp_filters"]) == ("2", "2" if sandbox.place.backend == "docker" else "1")
