"""The container of one service: in the network namespace of the sandbox, on its loopback and nowhere else.

One way to start it, whatever for: made new, with its volume, which outlives it. Its end is the end of the stream that
the engine attaches to it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox.engine import API_SECONDS, LABEL, OWNER, find_image, hosts_of, in_thread, persist
from dockwright.sandbox.guard import Guard
from dockwright.sandbox.owner import is_gone, owner
from dockwright.services.kinds import IMAGE, Service

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container as EngineContainer

_MOST_KEPT = 1 << 30
_WHOLE = "that was all"
_KEPT_OF_OUTPUT = 4096
_PIECE = 1 << 16


class ServiceContainer:
    """`run` is the id of the sandbox, whose container is called after it. `guard` is that of the engine."""

    def __init__(self, client: DockerClient, guard: Guard, run: str, service: Service) -> None:
        self.service = service
        self._client, self._guard, self._run = client, guard, run
        self._name = f"dockwright-{run}-{service.name}"
        self._volume = f"{self._name}-{secrets.token_hex(4)}"
        self._container: EngineContainer | None = None
        self._ended: asyncio.Task[None] | None = None
        self._said = bytearray()

    async def start(self, *, new: bool = False, state: Path | None = None) -> None:
        """Start the program on the data that is there; on none, as it comes from the image, where `new`; on a state
        that was saved. Raises SandboxError."""
        async with self._guard:
            sock = await in_thread(lambda: self._launch(new=new or state is not None, loads=state is not None))
        reader, writer = await asyncio.open_connection(sock=sock)
        self._said.clear()
        self._ended = asyncio.create_task(self._listen(reader, writer))
        if state is None:
            return
        with suppress(ConnectionError):  # it ended, which whoever waits for it to be ready is told
            with await asyncio.to_thread(state.open, "rb") as file:
                while piece := await asyncio.to_thread(file.read, _PIECE):
                    writer.write(piece)
                    await writer.drain()
            writer.write_eof()

    async def gone(self) -> None:
        """Wait until the container ends."""
        assert self._ended is not None  # noqa: S101 - for the type checker
        await asyncio.shield(self._ended)

    async def ended(self) -> str:
        """Wait until the container ends; how it did, as far as that is known."""
        await self.gone()
        try:
            how = await in_thread(self._state)
        except SandboxError as error:
            how = str(error)
        lines = self._said.decode("utf-8", "replace").strip().splitlines()
        return f"it {how}" + (f"; the last it said: {lines[-1].strip()[:300]}" if lines else "")

    def forget(self) -> None:
        """What it said so far says nothing of its end."""
        self._said.clear()

    @property
    def runs(self) -> bool:
        return self._ended is not None and not self._ended.done()

    async def healthy(self, command: str) -> bool:
        code, _ = await in_thread(lambda: self._exec(command, None))
        return code == 0

    async def save(self, file: Path) -> None:
        """Write the state to a new file. Raises SandboxError where it cannot be had, or is too large."""
        script = (
            f"{{ {self.service.save} && echo {_WHOLE} >&2; }} | gzip -1"  # without bash no pipe tells that it failed
        )
        partial = file.with_suffix(".partial")
        try:
            _, said = await in_thread(lambda: self._exec(script, partial))
            if not said.endswith(_WHOLE):
                raise SandboxError(said[-300:] or "what takes it out was ended.")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    async def close(self) -> None:
        """Remove the container and its data."""
        if self._ended:
            self._ended.cancel()
        async with self._guard.ending:
            await in_thread(self._remove)

    # in threads

    def _launch(self, *, new: bool, loads: bool) -> socket.socket:
        from docker.errors import NotFound
        from docker.types import LogConfig, Mount, Ulimit

        service, labels = self.service, {LABEL: self._run, OWNER: owner()}
        image = find_image(self._client, service.image)
        self._clear()
        if service.data and new:
            persist(lambda: self._client.volumes.get(self._volume).remove(force=True))
        if service.data:
            with suppress(NotFound):
                self._client.volumes.get(self._volume)
                new = False
            if new:
                self._client.volumes.create(self._volume, labels=labels)
                if service.image != IMAGE:  # a folder of the image's may be root's, who nobody is here
                    filler = self._client.containers.create(
                        find_image(self._client, IMAGE), mounts=[Mount("/empty", self._volume, type="volume")],
                        labels=labels,
                    )  # fmt: skip
                    filler.remove()
        beside = self._client.containers.get(f"dockwright-{self._run}")
        mounts = hosts_of(beside)
        if service.data:
            mounts.append(Mount(service.data, self._volume, type="volume", no_copy=service.image != IMAGE))
        told = image.attrs["Config"]
        program = [*(told.get("Entrypoint") or []), *(service.command or told.get("Cmd") or [])]
        start = ["sh", "-c", f'{service.load} && exec "$@" < /dev/null', "load", *program] if loads else program
        user = service.user or told.get("User") or "0"
        container = self._client.containers.create(
            image,
            entrypoint=start[:1],
            command=start[1:],
            name=self._name,
            labels=labels,
            user="1000:1000" if user.partition(":")[0] in ("0", "root") else user,
            working_dir="/tmp",  # noqa: S108 - inside
            environment=dict(service.env),
            network_mode=f"container:{beside.id}",
            read_only=True,
            mounts=mounts,
            tmpfs=dict.fromkeys(("/tmp", "/run", "/var/run"), "mode=1777,size=256m,nosuid,nodev,noexec"),  # noqa: S108
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=256,
            mem_limit=service.memory,
            memswap_limit=service.memory,
            nano_cpus=2_000_000_000,
            ulimits=[Ulimit(name="core", soft=0, hard=0)],
            shm_size=1 << 28,
            stdin_open=loads,
            log_config=LogConfig(type="none"),
        )
        self._container = container
        stream = self._client.api.attach_socket(
            str(container.id), {"stdin": int(loads), "stdout": 1, "stderr": 1, "stream": 1}
        )
        sock = taken(stream)
        sock.setblocking(False)
        container.start()
        return sock

    def _clear(self) -> None:
        """Away with the container before this one: ours, or that of a process that was killed."""
        from docker.errors import NotFound

        with suppress(NotFound):
            old = self._client.containers.get(self._name)
            if self._container is None and not is_gone(old.labels.get(OWNER, "")):
                raise ConfigError(f"There is a container {self._name} already, of a process that is alive.")
            persist(lambda: old.remove(force=True))

    def _state(self) -> str:
        assert self._container is not None  # noqa: S101 - for the type checker
        self._container.reload()
        state = self._container.attrs["State"]
        if state["Running"]:
            return "runs still, but the engine ended the stream to it"
        return "was killed for memory" if state["OOMKilled"] else f"ended with exit code {state['ExitCode']}"

    def _exec(self, script: str, file: Path | None) -> tuple[int, str]:
        """The exit code of a shell script in the container, and the end of its stderr; its stdout goes to a file."""
        assert self._container is not None  # noqa: S101 - for the type checker
        api = self._client.api
        made = api.exec_create(self._container.id, ["sh", "-c", script], environment={"LC_ALL": "C"})
        size, said = 0, b""
        with (
            taken(api.exec_start(made["Id"], socket=True)) as sock,
            sock.makefile("rb") as stream,
            (file or Path("/dev/null")).open("wb") as kept,
        ):
            sock.settimeout(API_SECONDS)
            while len(header := stream.read(8)) == 8:
                data = stream.read(int.from_bytes(header[4:], "big"))
                if header[0] == 2:
                    said = (said + data)[-_KEPT_OF_OUTPUT:]
                    continue
                size += kept.write(data)
                if size > _MOST_KEPT:
                    raise SandboxError(f"it is over {_MOST_KEPT >> 20} MB, packed.")
        return int(api.exec_inspect(made["Id"])["ExitCode"]), said.decode("utf-8", "replace").strip()

    def _remove(self) -> None:
        if (container := self._container) is not None:
            persist(lambda: container.remove(force=True, v=True))
        if self.service.data:
            persist(lambda: self._client.volumes.get(self._volume).remove(force=True))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What it prints, the end of which may say why it ended, in the engine's frames of type, size, bytes."""
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    header = await reader.readexactly(8)
                    self._said += await reader.readexactly(int.from_bytes(header[4:], "big"))
                    del self._said[:-_KEPT_OF_OUTPUT]
        finally:
            writer.close()


def taken(stream: object) -> socket.socket:
    """The engine's connection behind a stream of the SDK, which would not close it. Nothing was read ahead."""
    sock: Any = getattr(stream, "_sock", stream)
    return socket.socket(fileno=sock.detach())
