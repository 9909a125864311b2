"""What every sandbox must do, as checks that can be run over any of them. A new backend is done when all pass.

Each check takes a sandbox with an empty workspace and fails by AssertionError. `CHECKS` lists them in order.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable

from dockwright.sandbox import HOME, WORKSPACE, ExecResult, Sandbox, Stat

Check = Callable[[Sandbox], Awaitable[None]]


async def a_command_tells_its_output_and_exit_code(sandbox: Sandbox) -> None:
    done = await _sh(sandbox, "echo out; echo err >&2; exit 3", merge=False)
    assert (done.stdout, done.stderr, done.exit_code, done.ended) == (b"out\n", b"err\n", 3, "exit")


async def merged_output_keeps_the_order_of_writing(sandbox: Sandbox) -> None:
    done = await _sh(sandbox, "echo 1; echo 2 >&2; echo 3")
    assert (done.stdout, done.stderr, done.size) == (b"1\n2\n3\n", b"", 6)


async def a_signal_is_128_and_its_number(sandbox: Sandbox) -> None:
    assert (await _sh(sandbox, "kill -TERM $$")).exit_code == 143
    assert (await _sh(sandbox, "kill -KILL $$")).exit_code == 137


async def arguments_are_not_read_by_a_shell(sandbox: Sandbox) -> None:
    odd = ["$HOME", "a b", "'", '"', "*", "\n", "-n", ""]
    done = await sandbox.exec(["sh", "-c", 'for a; do printf "[%s]" "$a"; done', "sh", *odd])
    assert done.stdout == "".join(f"[{word}]" for word in odd).encode()


async def a_missing_program_is_file_not_found(sandbox: Sandbox) -> None:
    error = await _error(sandbox.exec(["no-such-program"]))
    assert (type(error), error.filename) == (FileNotFoundError, "no-such-program")


async def a_missing_working_directory_is_file_not_found(sandbox: Sandbox) -> None:
    error = await _error(sandbox.exec(["true"], cwd="/no/such/folder"))
    assert (type(error), error.filename) == (FileNotFoundError, "/no/such/folder")


async def the_environment_is_built_from_nothing(sandbox: Sandbox) -> None:
    done = await sandbox.exec(["env"], env={"COLOUR": "red"})
    names = {line.split("=")[0] for line in done.stdout.decode().splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {*sandbox.env, "COLOUR"}


async def stdin_is_empty_unless_given(sandbox: Sandbox) -> None:
    assert (await sandbox.exec(["cat"])).stdout == b""
    assert (await sandbox.exec(["wc", "-c"], stdin=b"x" * 3_000_000)).stdout.split() == [b"3000000"]
    assert (await sandbox.exec(["true"], stdin=b"x" * 3_000_000)).exit_code == 0


async def a_command_has_no_terminal_and_only_its_own_descriptors(sandbox: Sandbox) -> None:
    done = await _sh(sandbox, "for fd in /proc/$$/fd/*; do echo ${fd##*/}; done; test -t 0 || echo none")
    assert set(done.stdout.split()) <= {b"0", b"1", b"2", b"3", b"9", b"255", b"none"}  # 3: the listing itself
    assert b"none" in done.stdout.split()


async def the_working_directory_is_what_descriptor_nine_is_told(sandbox: Sandbox) -> None:
    done = await _sh(sandbox, "mkdir -p sub && cd sub && pwd -P >&9")
    assert done.cwd == f"{WORKSPACE}/sub"


async def commands_run_as_the_agent_without_privileges(sandbox: Sandbox) -> None:
    done = await _sh(sandbox, "id -u; id -g; cat /proc/self/status")
    lines = done.stdout.decode().splitlines()
    status = dict(line.split(":\t", 1) for line in lines[2:] if ":\t" in line)
    assert lines[:2] == ["1000", "1000"]
    assert {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")


async def system_calls_that_no_work_needs_are_refused(sandbox: Sandbox) -> None:
    script = (
        "import ctypes, socket\nfor family in (40, 17, 38):\n    try: socket.socket(family, socket.SOCK_RAW)\n"
        "    except OSError as error: print(error.errno)\n"
        "libc = ctypes.CDLL(None, use_errno=True)\nprint(libc.syscall(425, 1, 0), ctypes.get_errno())\n"
        "print(libc.ptrace(0, 0, 0, 0), ctypes.get_errno())\nprint(libc.unshare(0x10000000), ctypes.get_errno())\n"
    )
    done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", script])
    denied = b"-1 %d" % errno.EPERM
    assert done.stdout.splitlines() == [b"%d" % errno.EAFNOSUPPORT] * 3 + [denied] * 3  # io_uring first of the last


async def a_program_of_ours_finds_what_a_fresh_interpreter_does(sandbox: Sandbox) -> None:
    programs = (
        "import os, sys; print(sys.argv, os.getcwd(), sys.stdin.read(), sorted(os.environ.items()), __name__)",
        "import os; print(sorted(os.listdir('/proc/self/fd')), flush=True); os.system('ls /proc/self/fd')",
        "import sys; print('\\xe4\\udcff', *((f.encoding, f.errors) for f in (sys.stdin, sys.stdout, sys.stderr)))",
        "print(*(line for line in open('/proc/self/status') if line[:4] in 'Uid: Gid: Grou SigB SigI SigC CapP NoNe'))",
        "import sys; sys.exit('words')", "import sys; print(1); sys.exit(300)", "raise SystemExit", "print(1 / 0)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "import os; os.write(9, b'/tmp')", "import none",
        "import os; os.close(1); print('nowhere')",
    )  # fmt: skip
    python = [f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c"]
    for program in programs:
        ours = await sandbox.python(program, "a b", "\udcff", stdin=b"\xff\n")
        fresh = await sandbox.exec([*python, program, "a b", "\udcff"], stdin=b"\xff\n")
        told = [(done.stdout, done.exit_code, done.ended, done.cwd) for done in (ours, fresh)]
        assert told[0] == told[1], (program, ours, fresh)
        assert ours.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:], (ours.stderr, fresh.stderr)


async def nobody_looks_into_the_runner_or_what_watches_a_command(sandbox: Sandbox) -> None:
    for process in ("1", "$PPID"):
        for part in ("mem", "environ", "maps"):
            assert (await _sh(sandbox, f"head -c 1 /proc/{process}/{part} | grep -q .")).exit_code != 0, part


async def exec_returns_when_the_shell_exits_and_names_what_it_left(sandbox: Sandbox) -> None:
    began = time.monotonic()
    done = await _sh(sandbox, "sleep 300 & echo hi")
    assert (done.stdout, done.exit_code, time.monotonic() - began < 20) == (b"hi\n", 0, True)
    assert done.job is not None
    assert (await sandbox.poll(done.job)).status == "running"
    assert (await sandbox.kill(done.job)).status == "killed"
    assert await _processes(sandbox, "sleep 300") == 0


async def a_timeout_kills_the_whole_tree_and_keeps_the_output(sandbox: Sandbox) -> None:
    script = "trap '' TERM HUP INT; echo part; setsid sleep 301 & (setsid sh -c 'sleep 301 & sleep 301' &) ; sleep 301"
    done = await _sh(sandbox, script, seconds=1)
    assert (done.ended, done.exit_code, done.stdout, done.job) == ("timeout", None, b"part\n", None)
    assert await _processes(sandbox, "sleep 301") == 0


async def a_respawner_is_killed_too(sandbox: Sandbox) -> None:
    await sandbox.write(f"{WORKSPACE}/again.sh", b"sleep 0.02\nsetsid sh again.sh </dev/null >/dev/null 2>&1 &\n")
    done = await _sh(sandbox, "sh again.sh; sleep 302", seconds=1)
    assert done.ended == "timeout"
    assert await _processes(sandbox, "again.sh") == 0


async def cancelling_kills_the_tree(sandbox: Sandbox) -> None:
    call = asyncio.create_task(_sh(sandbox, "setsid sleep 303 & sleep 303"))
    while await _processes(sandbox, "sleep 303") < 2:
        await asyncio.sleep(0.02)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert await _processes(sandbox, "sleep 303") == 0


async def long_output_keeps_head_and_tail_and_a_file_with_all(sandbox: Sandbox) -> None:
    done = await _sh(
        sandbox, "echo first; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo last", limit=1000
    )
    assert (done.stdout[:6], done.stdout[-5:], len(done.stdout)) == (b"first\n", b"last\n", 1000)
    assert done.output_file is not None
    whole = await sandbox.read(done.output_file)
    assert (len(whole), whole[:6], whole[-5:], done.hidden) == (done.size, b"first\n", b"last\n", done.size - 1000)


async def live_output_comes_while_the_command_runs(sandbox: Sandbox) -> None:
    seen: list[bytes] = []
    arrived = asyncio.Event()

    def take(data: bytes) -> None:
        seen.append(data)
        arrived.set()

    call = asyncio.create_task(sandbox.exec(["sh", "-c", "echo early; sleep 304"], merge=True, on_output=take))
    async with asyncio.timeout(30):
        await arrived.wait()
    assert (seen, call.done()) == ([b"early\n"], False)
    call.cancel()
    await asyncio.wait([call])


async def calls_run_side_by_side(sandbox: Sandbox) -> None:
    async with asyncio.timeout(60):
        results = await asyncio.gather(*(_sh(sandbox, f"sleep 0.5; echo {n}") for n in range(8)))
    assert [done.stdout for done in results] == [b"%d\n" % n for n in range(8)]
    assert min(done.seconds for done in results) * 8 > max(done.seconds for done in results)


async def a_background_job_is_polled_and_stopped(sandbox: Sandbox) -> None:
    job = await sandbox.spawn(["sh", "-c", "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; sleep 305"])
    output = await _poll_until(sandbox, job.id, b"one\n")
    await sandbox.write(f"{WORKSPACE}/go", b"")
    output += await _poll_until(sandbox, job.id, b"two\n")
    stopped = await sandbox.kill(job.id)
    assert (output, stopped.status) == (b"one\ntwo\n", "killed")
    assert await sandbox.read(job.output_file) == b"one\ntwo\n"


async def a_finished_job_tells_its_exit_code(sandbox: Sandbox) -> None:
    job = await sandbox.spawn(["sh", "-c", "exit 7"])
    async with asyncio.timeout(30):
        while (state := await sandbox.poll(job.id)).status == "running":
            await asyncio.sleep(0.02)
    assert (state.status, state.exit_code) == ("exited", 7)


async def an_unknown_job_is_a_key_error(sandbox: Sandbox) -> None:
    try:
        await sandbox.poll("nobody")
    except KeyError as error:
        assert error.args == ("nobody",)
    else:
        raise AssertionError("polling an unknown job answered")


async def files_keep_every_byte(sandbox: Sandbox) -> None:
    for data in (b"", b"\x00\xff\r\n\x1b" * 99, bytes(range(256)) * 4096, b"x" * 3_000_001):
        await sandbox.write(f"{WORKSPACE}/deep/er/file", data)
        assert await sandbox.read(f"{WORKSPACE}/deep/er/file") == data
    assert await sandbox.read(f"{WORKSPACE}/deep/er/file", offset=2_999_999, limit=9) == b"xx"


async def odd_names_are_names(sandbox: Sandbox) -> None:
    for name in ("with space", "new\nline", "-rf", "q'uo\"te", "ünïcode", "*"):
        await sandbox.write(f"{WORKSPACE}/{name}", name.encode())
        assert await sandbox.read(f"{WORKSPACE}/{name}") == name.encode()


async def an_existing_file_keeps_its_mode(sandbox: Sandbox) -> None:
    path = f"{WORKSPACE}/script"
    await sandbox.write(path, b"1")
    assert (await sandbox.stat(path)).mode == 0o644
    await sandbox.write(path, b"22", mode=0o755)
    await sandbox.write(path, b"333")
    found = await sandbox.stat(path)
    assert found == Stat("file", 3, 0o755, found.mtime_ns)


async def a_failed_write_leaves_the_file_and_nothing_else(sandbox: Sandbox) -> None:
    path = f"{WORKSPACE}/kept"
    await sandbox.write(path, b"kept", mode=0o444)
    assert type(await _error(sandbox.write(path, b"lost"))) is PermissionError
    assert await sandbox.read(path) == b"kept"
    assert (await sandbox.exec(["ls", "-A", WORKSPACE])).stdout == b"kept\n"


async def errors_of_files_are_the_standard_kinds(sandbox: Sandbox) -> None:
    await _sh(sandbox, "mkdir d; ln -s nowhere l; echo x > f; echo secret > s; chmod 0 s; mkfifo p")
    kinds = {
        "d": IsADirectoryError, "l": FileNotFoundError, "f/x": NotADirectoryError, "none": FileNotFoundError,
        "s": PermissionError,
    }  # fmt: skip
    for name, kind in kinds.items():
        error = await _error(sandbox.read(f"{WORKSPACE}/{name}"))
        assert (type(error), error.filename) == (kind, f"{WORKSPACE}/{name}")
    assert (await _error(sandbox.write(f"{WORKSPACE}/l", b""))).errno == errno.ELOOP
    assert type(await _error(sandbox.write(f"{WORKSPACE}/d", b""))) is IsADirectoryError


async def devices_and_fifos_never_hang(sandbox: Sandbox) -> None:
    await _sh(sandbox, "mkfifo p")
    async with asyncio.timeout(20):
        for path in (f"{WORKSPACE}/p", "/dev/zero", "/dev/null"):
            assert (await _error(sandbox.read(path))).errno == errno.EINVAL
            assert (await _error(sandbox.write(path, b"x"))).errno in (errno.EINVAL, errno.EACCES, errno.EROFS)


async def stat_tells_links_from_what_they_point_to(sandbox: Sandbox) -> None:
    await _sh(sandbox, "echo 12 > f; ln -s f l")
    link, file = await sandbox.stat(f"{WORKSPACE}/l"), await sandbox.stat(f"{WORKSPACE}/l", follow=True)
    assert ((link.kind, link.target), (file.kind, file.size)) == (("link", "f"), ("file", 3))


async def only_the_workspace_home_and_temp_can_be_written(sandbox: Sandbox) -> None:
    writable = {WORKSPACE: True, HOME: True, "/tmp": True, "/etc": False, "/usr/bin": False, "/opt": False, "/": False}
    for folder, fine in writable.items():
        done = await _sh(sandbox, f"(echo x > {folder}/probe) 2>/dev/null && rm {folder}/probe")
        assert (done.exit_code == 0) == fine, folder


async def nothing_but_loopback_answers(sandbox: Sandbox) -> None:
    assert (await _sh(sandbox, "cat /proc/net/dev | grep -c :")).stdout.strip() == b"1"
    assert (await _sh(sandbox, "tail -n +2 /proc/net/route")).stdout == b""


async def a_tunnel_reaches_a_port_inside(sandbox: Sandbox) -> None:
    server = (
        "import socket\ns = socket.create_server(('127.0.0.1', 8765))\nprint('up', flush=True)\nc, _ = s.accept()\n"
        "while data := c.recv(65536):\n    c.sendall(data.upper())\n"
    )
    job = await sandbox.spawn([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", server])
    await _poll_until(sandbox, job.id, b"up\n")
    stream = await sandbox.connect(8765)
    sent = b"abc" * 700_000
    sending = asyncio.create_task(stream.send(sent))
    received = b""
    async with asyncio.timeout(60):
        while len(received) < len(sent):
            received += await stream.receive()
        await sending
        stream.send_end()
        assert await stream.receive() == b""
    assert received == sent.upper()
    await sandbox.kill(job.id)


async def a_tunnel_reaches_what_listens_on_localhost_by_name_or_as_ipv6(sandbox: Sandbox) -> None:
    server = (
        "import asyncio\nasync def main():\n    bye = lambda reader, writer: writer.close()\n"
        "    await asyncio.start_server(bye, 'localhost', 8766)\n    await asyncio.start_server(bye, '::1', 8767)\n"
        "    print('up', flush=True)\n    await asyncio.sleep(600)\nasyncio.run(main())\n"
    )
    job = await sandbox.spawn([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", server])
    await _poll_until(sandbox, job.id, b"up\n")
    for port in (8766, 8767):
        assert await (await sandbox.connect(port)).receive() == b""
    await sandbox.kill(job.id)


async def a_port_where_nobody_listens_refuses(sandbox: Sandbox) -> None:
    assert type(await _error(sandbox.connect(9))) is ConnectionRefusedError


CHECKS: tuple[Check, ...] = tuple(
    value for name, value in list(globals().items()) if asyncio.iscoroutinefunction(value) and not name.startswith("_")
)


async def _sh(
    sandbox: Sandbox, script: str, *, merge: bool = True, seconds: float = 60, limit: int = 1 << 16
) -> ExecResult:
    return await sandbox.exec(["sh", "-c", script], merge=merge, timeout=seconds, limit=limit)


async def _error(call: Awaitable[object]) -> OSError:
    try:
        await call
    except OSError as error:
        return error
    raise AssertionError("no OSError was raised")


async def _processes(sandbox: Sandbox, words: str) -> int:
    """How many processes have these words in their command line; the counting ones do not."""
    script = 'for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; echo; done 2>/dev/null | grep -c -e "$0[ ]" || true'
    done = await sandbox.exec(["sh", "-c", script, words[:-1] + f"[{words[-1]}]"])
    return int(done.stdout)


async def _poll_until(sandbox: Sandbox, job: str, wanted: bytes) -> bytes:
    output = b""
    async with asyncio.timeout(30):
        while not output.endswith(wanted):
            output += (await sandbox.poll(job)).output
            await asyncio.sleep(0.02)
    return output
