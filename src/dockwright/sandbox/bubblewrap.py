"""A sandbox without an engine: bubblewrap, namespaces only. The runner is PID 1, which no signal from inside kills.

Protects the host's files, processes and network. Memory and processes are limited as a whole by a control group, where
this machine lets us make one, else only for each process; `weakness` says so to the user.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from dockwright.errors import SandboxError
from dockwright.sandbox import DISK, HOME, INODES, PATH, RUNTIME, WORKSPACE, Found, cgroup
from dockwright.sandbox.channel import Channel
from dockwright.sandbox.owner import is_gone, owner
from dockwright.sandbox.runner import BOOT, source

PREFIX, OWNER_FILE, GROUPS_FILE = "dockwright-", "owner", "groups"
_UID = 1000
_ADDRESSES = 16 << 30  # bytes of address space for each process, which is more than it uses
_ETC = {
    "passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\nagent:x:{_UID}:{_UID}::{HOME}:/bin/sh\n",
    "group": f"root:x:0:\nagent:x:{_UID}:\n",
    "hosts": "127.0.0.1 localhost sandbox\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}


def _find(run: str) -> Path | None:
    """The folder that a process which is gone left of this run; the rest of the sandbox went with it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}{run}-*"):
        with suppress(OSError):
            mine = folder.stat().st_uid == os.getuid()
            if mine and (folder / "workspace").is_dir() and is_gone((folder / OWNER_FILE).read_text()):
                return folder
    return None


class Bubblewrap:
    """A root file system of the host's (`root`, "/" for the host's own /usr), read-only, and a workspace of its own."""

    backend = "bubblewrap"

    def __init__(
        self,
        root: Path,
        run: str,
        *,
        memory: int = 4 << 30,
        pids: int = 512,
        disk: int = DISK,
        inodes: int = INODES,
        again: bool = False,
    ) -> None:
        self.root, self.id, self.image, self.again = root, run, str(root), again
        self.disk, self.inodes = disk, inodes
        self._memory, self._pids = memory, pids
        self._group: cgroup.Group | None = None
        self.found: Found = "nothing"
        self.left = False
        self._folder: Path | None = None
        self.env: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def start_runner(self) -> Channel:
        bwrap, runtime = shutil.which("bwrap"), self.runtime
        if bwrap is None:
            raise SandboxError("No bwrap on PATH. Install bubblewrap (apt-get install bubblewrap) or a Docker engine.")
        folder = self._folder = self._folder or self._find_or_make()
        workspace = folder / "workspace"
        workspace.mkdir(mode=0o700, exist_ok=True)
        (folder / OWNER_FILE).write_text(owner())
        await self._end()
        if self._group is None:
            self._group = cgroup.make(folder.name, memory=self._memory, pids=self._pids)
            folders = self._group.folders if self._group else ()
            (folder / GROUPS_FILE).write_text("\n".join(map(str, folders)))
        for name, text in _ETC.items():
            (folder / name).write_text(text)
        if os.getuid() == 0:
            folder.chmod(0o711)
            os.chown(workspace, _UID, _UID)
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command(bwrap, runtime, folder),
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": PATH},
                cwd="/",
                start_new_session=True,
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        _, channel = await asyncio.get_running_loop().create_connection(Channel, sock=ours)
        self._listening = asyncio.create_task(self._listen(channel))
        channel.send(source())
        return channel

    def _find_or_make(self) -> Path:
        there = _find(self.id)
        if there and self.again:
            self.found = "workspace"
            return there
        if there:
            discard(there)
        return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{self.id}-"))

    @property
    def weakness(self) -> str:
        """What the user should know about this kind of sandbox, here; once it was launched."""
        limits = (
            ""
            if self._group
            else ", and limits memory only for each process, because no control group could be made (as root, or with "
            "one that is delegated, it can)"
        )
        return (
            f"bubblewrap isolates files, processes and network{limits}. It has no quota on disk space: a command that "
            "uses too much is stopped when that is seen. A Docker engine isolates more."
        )

    async def is_alive(self) -> bool:
        if self._process is None or self._process.returncode is not None:
            return False
        with open(f"/proc/{self._process.pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: ASYNC230
            return file.read().rpartition(")")[2].split()[0] not in ("T", "t")

    async def why_lost(self) -> str:
        if self._process is None:
            return "It never started."
        try:
            code = await asyncio.wait_for(self._process.wait(), 2)
        except TimeoutError:
            return "Its process is still there but answers no more."
        return f"Its process ended with status {code}."

    async def close(self) -> None:
        await self._end()
        if self._folder and not self.left:
            await asyncio.to_thread(discard, self._folder)

    async def _end(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            # --die-with-parent and the PID namespace take everything inside with it. Not by the process's own `kill`,
            # which would reap one that has just ended, behind the back of who waits for it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        await asyncio.wait([self._listening], timeout=2)

    async def _listen(self, channel: Channel) -> None:
        assert self._process is not None  # noqa: S101 - for the type checker
        assert self._process.stderr is not None  # noqa: S101
        while data := await self._process.stderr.read(4096):
            channel.diagnostics += data[: 1 << 16]
            del channel.diagnostics[: -(1 << 14)]

    @property
    def runtime(self) -> str:
        """Where python3, git and rg of ours are inside: the relocated ones if the root has them, else its /usr."""
        for place in (RUNTIME, "/usr"):
            if all(os.path.lexists(f"{self.root}{place}/bin/{name}") for name in ("python3", "git", "rg")):
                return place
        raise SandboxError(
            f"{self.root} has neither {RUNTIME} nor python3, git and rg under /usr. Install them there "
            "(apt-get install python3 git ripgrep) or build a root file system: sandbox/build rootfs DIR."
        )

    def _command(self, bwrap: str, runtime: str, folder: Path) -> list[str]:
        root = str(self.root).rstrip("/")
        drop = (
            ["setpriv", f"--reuid={_UID}", f"--regid={_UID}", "--clear-groups", "--no-new-privs"]
            if os.getuid() == 0
            else []
        )
        limits = ["prlimit", "--nofile=4096", "--core=0", f"--as={_ADDRESSES}"]
        if self._group is None:
            limits.append(f"--nproc={self._pids}")
        binds = ["--ro-bind", f"{root}/usr", "/usr"]
        for name in ("bin", "sbin", "lib", "lib64", "lib32"):
            if os.path.islink(f"{root}/{name}"):
                binds += ["--symlink", os.readlink(f"{root}/{name}"), f"/{name}"]
            elif os.path.isdir(f"{root}/{name}"):
                binds += ["--ro-bind", f"{root}/{name}", f"/{name}"]
        for name in ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ssl", "/etc/postgresql-common", RUNTIME):
            binds += ["--ro-bind-try", f"{root}{name}", name]
        if self._group:  # where the runner looks how often memory ran out
            binds += ["--ro-bind", str(self._group.folders[0]), str(self._group.seen_as)]
        command = [
            *drop, *limits, bwrap,
            "--unshare-user", "--unshare-all", "--disable-userns", "--uid", str(_UID), "--gid", str(_UID),
            "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox",
            *binds, "--proc", "/proc", "--dev", "/dev",
            "--size", str(1 << 28), "--tmpfs", "/dev/shm",  # noqa: S108
            "--size", str(1 << 30), "--perms", "1777", "--tmpfs", "/tmp",  # noqa: S108
            "--size", str(1 << 30), "--tmpfs", HOME, "--bind", str(folder / "workspace"), WORKSPACE,
            *(word for name in _ETC for word in ("--ro-bind", f"{folder}/{name}", f"/etc/{name}")),
            "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", WORKSPACE,
            "--setenv", "PATH", PATH, "--setenv", "HOME", HOME, "--setenv", "LANG", "C.UTF-8",
            "--as-pid-1", f"{runtime}/bin/python3", "-I", "-S", "-c", BOOT,
        ]  # fmt: skip
        return self._group.entered_by(command) if self._group else command


def discard(folder: Path) -> None:
    """Remove what is left of a sandbox that has ended."""
    with contextlib.suppress(OSError):
        cgroup.remove(tuple(Path(line) for line in (folder / GROUPS_FILE).read_text().splitlines()))
    # By a program, because shutil gives up on a path that is deeper than Python's stack.
    subprocess.run(["rm", "-rf", "--", folder], check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
