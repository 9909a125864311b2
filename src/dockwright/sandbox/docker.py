"""A sandbox in a container of a Docker engine (20.10 or later, or what speaks its API), reached over its API only.

Any image will do: the runner's interpreter, git and rg come from a read-only volume filled once from the runtime image.
The SDK is synchronous and is called in threads; the runner's stream is its hijacked socket, taken over by asyncio.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import ssl
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from dockwright.errors import ConfigError, SandboxError, SandboxLost
from dockwright.sandbox import DISK, HOME, INODES, RUNTIME, WORKSPACE, Found
from dockwright.sandbox.address import NOT_OVER_TLS
from dockwright.sandbox.attached import RUNNER_ENDED, Demultiplexer
from dockwright.sandbox.channel import Channel
from dockwright.sandbox.engine import (
    API_SECONDS,
    HELLO_SECONDS,
    LABEL,
    OWNER,
    QUICK_SECONDS,
    find_image,
    in_thread,
    persist,
)
from dockwright.sandbox.guard import Guard
from dockwright.sandbox.owner import is_gone, owner
from dockwright.sandbox.runner import BOOT, source

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.images import Image
    from docker.models.volumes import Volume

WORKBENCH, RUNTIME_IMAGE = "dockwright/workbench:latest", "dockwright/runtime:latest"
WORKBENCH_HAS = (
    "Debian 12 with Python 3.11 (pytest, FastAPI 0.92, Flask, SQLAlchemy 1.4, Alembic, httpx, psycopg2, redis), "
    "Node 18 with npm, gcc, git, ripgrep, curl, jq, sqlite3, psql and redis-cli"
)
LAUNCH_SECONDS = 90  # once for each runtime image the engine has to copy it
# Podman has no limit for the inodes of a tmpfs, so that the runner counts them; a kernel may be without IPv6; a runtime
# of before has no file of hosts, and an engine may take no file out of a volume.
_MAY_LACK = ("nr_inodes", "disable_ipv6", "/hosts")
_TMPFS_INODES = 200_000  # each takes about a kilobyte of memory
# What an image could set to change what the loader puts into our programs; a variable can be emptied, not unset.
_HARMLESS = dict.fromkeys(("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "GLIBC_TUNABLES", "OPENSSL_CONF"), "")
_OURS = {RUNTIME, WORKSPACE, HOME, "/tmp"}  # noqa: S108
_MARK = "-owner"
_FILLED = "dockwright.filled"
# PID 1 of the container: starts the first runner on the container's own stdin and stdout (another `docker exec` costs
# as much as the container); has no rights from then on, reaps what nobody else does, tells when that runner is gone,
# ends when told to.
_INIT = f"""
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
watched = {{signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}}
signal.pthread_sigmask(signal.SIG_BLOCK, watched)
runner = os.fork()
if runner == 0:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, watched)
    exec(sys.argv[1])
os.dup2(os.open("/dev/null", os.O_RDWR), 0)
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
while signal.sigwait(watched) == signal.SIGCHLD:
    try:
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            if pid == runner:
                os.write(2, {RUNNER_ENDED!r})
    except ChildProcessError:
        pass
"""


class Docker:
    """A container of `image`, with no network, a read-only root, and nothing of the host in it."""

    backend = "docker"
    runtime = RUNTIME

    def __init__(
        self,
        image: str,
        run: str,
        *,
        runtime_image: str = RUNTIME_IMAGE,
        memory: int = 4 << 30,
        cpus: float = 2.0,
        pids: int = 512,
        disk: int = DISK,
        inodes: int = INODES,
        oci_runtime: str | None = None,
        again: bool = False,
        guard: Guard | None = None,
    ) -> None:
        """`guard` is that of the engine, held while it starts or removes the container."""
        self.image, self.id, self.again = image, run, again
        self.disk, self.inodes = disk, inodes
        self.found: Found = "nothing"
        self.left = False
        self._runtime_image, self._guard = runtime_image, guard or Guard(waits=False)
        self._memory, self._cpus, self._pids, self._oci_runtime = memory, cpus, pids, oci_runtime
        self.env: dict[str, str] = {}
        self._client: DockerClient | None = None
        self._container: Container | None = None
        self._volume = f"dockwright-{run}-{secrets.token_hex(4)}"  # nobody else's, so that it can be removed

    async def start_runner(self) -> Channel:
        async with self._guard:
            if self._container is None:
                sock = await in_thread(self._launch_or_find, LAUNCH_SECONDS)
            else:
                sock = await in_thread(self._exec, QUICK_SECONDS * 2)
        loop = asyncio.get_running_loop()
        channel = Channel()
        await loop.create_connection(lambda: Demultiplexer(channel), sock=sock)
        channel.send(source())
        return channel

    async def is_alive(self) -> bool:
        try:
            state = await in_thread(self._state, HELLO_SECONDS)
        except SandboxError:
            return False
        return bool(state["Running"] and not state["Paused"])

    async def why_lost(self) -> str:
        if self._container is None:
            return "The container was never made."
        try:
            state = await in_thread(self._state, HELLO_SECONDS)
        except SandboxError as error:
            return str(error)
        if state["Paused"]:
            return "The container is paused (docker unpause lets it go on)."
        if state["Running"]:
            return "The container still runs: the runner in it died."
        cause = "was killed for memory" if state["OOMKilled"] else f"ended with exit code {state['ExitCode']}"
        return f"The container {cause}."

    async def close(self) -> None:
        if self._client is None:
            return
        client, self._client = self._client, None
        try:
            async with self._guard.ending:
                await in_thread(lambda: self._remove(client))
        except SandboxError as error:
            raise SandboxLost(
                f"The container dockwright-{self.id} could not be removed: {error} What is left of it goes away with: "
                "dockwright gc"
            ) from error

    # in threads

    def _launch_or_find(self) -> socket.socket:
        from docker.errors import NotFound

        client = self._guard.connect(QUICK_SECONDS)
        try:
            there = self._find(client)
        except BaseException:  # nothing was made, so nobody waits for what removes it
            client.close()
            raise
        self._client = client
        if there and self.again:
            with suppress(NotFound):  # somebody was just removing it
                self._take_over(client, there)
                return self._exec()
        elif there:
            persist(lambda: there.remove(force=True, v=True))
        return self._launch(client)

    def _find(self, client: DockerClient) -> Container | None:
        """A container of this very name whose process is gone."""
        from docker.errors import NotFound

        try:
            there = client.containers.get(f"dockwright-{self.id}")
        except NotFound:
            return None
        return there if there.labels.get(LABEL) == self.id and is_gone(there.labels.get(OWNER, "")) else None

    def _take_over(self, client: DockerClient, there: Container) -> None:
        """Labels cannot be changed: whose it is now says an empty volume beside it."""
        client.volumes.create(f"{self._volume}{_MARK}", labels={LABEL: self.id, OWNER: owner()})
        if there.status != "running":
            there.start()
        mounts = {mount["Destination"]: mount["Name"] for mount in there.attrs["Mounts"] if "Name" in mount}
        self._volume = mounts[WORKSPACE]
        self._container = there
        self.env = _variables(there.image.attrs) if there.image else {}
        self.found = "all" if there.status == "running" else "workspace"

    def _launch(self, client: DockerClient) -> socket.socket:
        """Make the container, be there for what its first runner says, and start it."""
        from docker.errors import APIError

        labels = {LABEL: self.id, OWNER: owner()}
        runtime = self._runtime_volume(client)
        if self._oci_runtime and self._oci_runtime not in client.info()["Runtimes"]:
            raise SandboxError(
                f"The engine has no runtime called {self._oci_runtime}. Install it in the engine or choose another."
            )
        image = find_image(client, self.image)
        self.env = _variables(image.attrs)
        client.api.timeout = API_SECONDS
        client.volumes.create(self._volume, labels=labels)
        lacking: set[str] = set()
        while True:
            try:
                taken = self._start(client, image, runtime, labels, lacking)
                break
            except APIError as error:
                unknown = {name for name in _MAY_LACK if name in str(error.explanation)} - lacking
                if not unknown:
                    raise
                lacking |= unknown
        client.api.timeout = QUICK_SECONDS
        return taken

    def _start(
        self, client: DockerClient, image: Image, runtime: Volume, labels: dict[str, str], lacking: Collection[str]
    ) -> socket.socket:
        """`lacking` is what the engine could not do the time before."""
        if self._container is not None:
            self._container.remove(force=True)
        self._container = self._create(client, image, runtime, labels, lacking)
        both = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        taken = self._taken(client.api.attach_socket(str(self._container.id), both))
        try:
            self._container.start()
        except BaseException:
            taken.close()
            raise
        return taken

    def _create(
        self, client: DockerClient, image: Image, runtime: Volume, labels: dict[str, str], lacking: Collection[str]
    ) -> Container:
        from docker.types import LogConfig, Mount, Ulimit

        loopback = {} if "disable_ipv6" in lacking else {"net.ipv6.conf.lo.disable_ipv6": "0"}  # localhost is also ::1
        inodes = "" if "nr_inodes" in lacking else f",nr_inodes={_TMPFS_INODES}"
        # Told to leave the network alone, the engine starts three programs less, and writes no /etc/hosts.
        ours = Mount("/etc/hosts", f"{runtime.attrs['Mountpoint']}/hosts", type="bind", read_only=True)
        hosts = [] if "/hosts" in lacking else [ours]
        declared = {os.path.normpath(path) for path in image.attrs["Config"].get("Volumes") or ()} - _OURS
        of_image = [
            Mount(path, f"{self._volume}-{number}", type="volume", read_only=True, labels=labels)
            for number, path in enumerate(sorted(declared))
        ]
        return client.containers.create(
            image,
            entrypoint=[f"{RUNTIME}/bin/python3", "-I", "-S", "-c", _INIT, BOOT],
            command=[],
            stdin_open=True,
            name=f"dockwright-{self.id}",
            labels=labels,
            hostname="sandbox",
            user="0:0",
            working_dir="/",
            environment=_HARMLESS,
            healthcheck={"test": ["NONE"]},  # the engine would run an image's own as uid 0
            network_mode="none",
            network_disabled=bool(hosts),
            read_only=True,
            mounts=[
                Mount(RUNTIME, str(runtime.name), type="volume", read_only=True),
                *hosts,
                Mount(WORKSPACE, self._volume, type="volume", no_copy=True),  # nothing of the image's
                *of_image,  # nobody would count what the agent writes there
            ],
            tmpfs={
                "/tmp": f"mode=1777,size=1g{inodes},nosuid,nodev,exec",  # noqa: S108
                HOME: f"mode=0700,size=1g{inodes},nosuid,nodev,exec",
            },
            cap_drop=["ALL"],
            cap_add=["CHOWN", "SETUID", "SETGID", "KILL", "SETPCAP"],  # CHOWN and SETPCAP until the runner has begun
            security_opt=["no-new-privileges"],
            pids_limit=self._pids,
            mem_limit=self._memory,
            memswap_limit=self._memory,
            nano_cpus=int(self._cpus * 1e9),
            ulimits=[Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=4096, hard=4096)],
            sysctls=loopback,
            ipc_mode="private",
            shm_size=1 << 28,
            log_config=LogConfig(type="none"),
            runtime=self._oci_runtime,
        )

    def _runtime_volume(self, client: DockerClient) -> Volume:
        """The volume with the runtime, filled by the engine from the image when a container first uses it.

        Which one that is says the label of an empty volume, made when the other was full: whoever comes meanwhile, or
        after one that was killed over it, fills another."""
        from docker.errors import NotFound
        from docker.types import Mount

        image = find_image(client, self._runtime_image)
        known = str(image.id).removeprefix("sha256:")[:16]
        sign = f"dockwright-filled-{known}"
        with suppress(NotFound):
            return _that_is_there(client, sign)
        client.api.timeout = API_SECONDS  # it copies the whole runtime
        mine = f"dockwright-runtime-{known}-{secrets.token_hex(4)}"
        filler = client.containers.create(
            image, [f"{RUNTIME}/bin/python3"], labels={OWNER: owner()}, mounts=[Mount(RUNTIME, mine, type="volume")]
        )
        filler.remove()
        client.volumes.create(sign, labels={_FILLED: mine})
        if (filled := _that_is_there(client, sign)).name != mine:
            client.volumes.get(mine).remove()
        return filled

    def _exec(self) -> socket.socket:
        """Start another runner as uid 0 of the container."""
        assert self._client is not None  # noqa: S101 - for the type checker
        assert self._container is not None  # noqa: S101
        api = self._client.api
        made = api.exec_create(
            self._container.id, [f"{RUNTIME}/bin/python3", "-I", "-S", "-c", BOOT], stdin=True, user="0:0", workdir="/",
            environment=_HARMLESS,
        )  # fmt: skip
        return self._taken(api.exec_start(made["Id"], socket=True))

    def _taken(self, stream: object) -> socket.socket:
        """The connection that carries the stdin and stdout of a runner, taken over from the SDK."""
        sock: Any = getattr(stream, "_sock", stream)
        if isinstance(sock, ssl.SSLSocket) or not isinstance(sock, socket.socket):
            raise ConfigError(f"The engine {NOT_OVER_TLS}")
        taken = socket.socket(fileno=sock.detach())  # nothing was read ahead: the runner speaks when spoken to
        taken.setblocking(False)
        return taken

    def _state(self) -> Any:
        assert self._container is not None  # noqa: S101 - for the type checker
        self._container.reload()
        return self._container.attrs["State"]

    def _remove(self, client: DockerClient) -> None:
        """Both, also where somebody else is just removing the container: then its volume is busy for a moment."""
        try:
            client.api.timeout = HELLO_SECONDS
            client.ping()
            client.api.timeout = API_SECONDS
            if (container := self._container) is not None and not self.left:
                persist(lambda: container.remove(force=True, v=True))
            ours = re.compile(rf"dockwright-{re.escape(self.id)}-[0-9a-f]{{8}}(-\w+)?")
            for volume in client.volumes.list(filters={"label": f"{LABEL}={self.id}"}):  # killed ones' are among them
                name = str(volume.name)
                if ours.fullmatch(name) and not (self.left and name.startswith(self._volume)):
                    persist(partial(volume.remove, force=True))
        finally:
            client.close()


def _that_is_there(client: DockerClient, sign: str) -> Volume:
    """The volume that a sign names. Raises NotFound where it, or the sign, is not there; such a sign is taken away."""
    from docker.errors import NotFound

    found = client.volumes.get(sign)
    try:
        return client.volumes.get((found.attrs["Labels"] or {}).get(_FILLED, "-"))
    except NotFound:
        found.remove(force=True)
        raise


def _variables(image: dict[str, Any]) -> dict[str, str]:
    """What an image sets for its programs."""
    said = image["Config"].get("Env") or []
    return dict(
        line.split("=", 1) for line in said if "=" in line and not line.startswith(("LD_PRELOAD=", "LD_AUDIT="))
    )
