"""What the fork that waits for an order becomes: a program, by an exec, or a program of ours, which it runs itself."""

from __future__ import annotations

import binascii
import errno
import gc
import marshal
import os
import signal
import socket
import sys
from types import ModuleType

from dockwright.sandbox.runner.guard import hide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dockwright.sandbox.runner.process import World


def become(world: World, line: socket.socket) -> None:
    """Wait for the order, then become it: own session, the agent's user, four descriptors, no more. Until the order is
    there it is ours, so that the agent cannot stop or kill it."""
    where = "cwd"
    try:
        data, rights, _, _ = line.recvmsg(1 << 16, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC)
        if not data:  # it was never wanted
            os._exit(0)
        while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "big"):
            data += line.recv(1 << 16) or os._exit(0)
        os.setsid()
        if world.uid:
            os.setgroups([])
            os.setresgid(world.gid, world.gid, world.gid)
            os.setresuid(world.uid, world.uid, world.uid)
        call = marshal.loads(data[4:])  # noqa: S302 - from the runner, of which we are a fork
        out, cwd, *more = memoryview(rights[0][2]).cast("i")
        os.dup2(out, 1)
        os.dup2(out if call["merge"] else more.pop(0), 2)
        os.dup2(cwd, 9)  # which is nothing else: see main
        if call["stdin"]:
            os.dup2(more.pop(), 0)
        os.chdir(call["cwd"])
        where = "program"
        if call["code"] is not None:
            hide()
            interpret(call)
        os.execvpe(call["argv"][0], call["argv"], call["env"])
    except OSError as error:
        line.send(f"!{error.errno or errno.EIO} {where}\n".encode())
    finally:
        os._exit(127)


def interpret(call: dict[str, Any]) -> None:
    """Run code as a fresh interpreter would; what this one had open and prepared is out of its reach. Never returns."""
    close_all_but(0, 1, 2, 9)
    gc.freeze()  # what goes away would close descriptors that are others by now
    gc.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(call["env"])
    sys.argv = call["argv"]
    main = sys.modules["__main__"] = ModuleType("__main__")
    status = 0
    try:
        exec(ready(call["code"]), main.__dict__)  # noqa: S102 - it is from the host
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            sys.stderr.write(f"{end.code}\n")
    except BaseException as error:  # noqa: BLE001 - told as an interpreter does
        sys.excepthook(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        status = 1
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        status = 120
    os._exit(status & 0xFF)


def ready(code: tuple[str, str]) -> Any:
    form, text = code
    return marshal.loads(binascii.a2b_base64(text)) if form == "marshal" else compile(text, "<string>", "exec")  # noqa: S302


def close_all_but(*keep: int) -> None:
    ends = sorted(keep)
    for left, right in zip(ends, [*ends[1:], 1 << 20], strict=True):
        os.closerange(left + 1, right)
