"""An image made of another one by a command, run as root in a container beside a sandbox, whose way out it shares.

The container has the workspace and a root of its own that can be written, and nothing of the user's. What git ignores
in the workspace (node_modules, .venv) is no part of an image's root: it goes in as an archive.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from dockwright.errors import ConfigError
from dockwright.sandbox import OUTPUT, RUNTIME, WORKSPACE, Sandbox
from dockwright.sandbox.closing import in_full
from dockwright.sandbox.engine import LABEL, OWNER, find_image, hosts_of, in_thread, persist
from dockwright.sandbox.guard import Guard
from dockwright.sandbox.owner import owner
from dockwright.services.container import taken

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

REPOSITORY, SETUP_LABEL = "dockwright/setup", "dockwright.setup"
ARCHIVE = "/var/lib/dockwright/workspace.tar"
_ENV = {"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
_KEPT_OF_OUTPUT = 4096
CA = f"{OUTPUT}/ca.pem"
# Standard input has the bundle of certificates, and when the command is done the names of what goes into the archive.
_SCRIPT = f"""
mkdir -p {OUTPUT} && head -c "$3" > {CA} || exit
(command=$1 && shift 3 && export "$@" && eval "$command") < /dev/null || exit $?
echo "$2"
mkdir -p {ARCHIVE.rpartition("/")[0]} && cat > {ARCHIVE}.names || exit
if [ -s {ARCHIVE}.names ]; then tar -cf {ARCHIVE} -C {WORKSPACE} -T {ARCHIVE}.names || exit; fi
rm -r {ARCHIVE}.names {OUTPUT}
"""


async def exists(guard: Guard, name: str) -> bool:
    client = await in_thread(guard.connect)
    try:
        return bool(await in_thread(lambda: client.images.list(name=name)))
    finally:
        client.close()


async def image_id(guard: Guard, name: str) -> str:
    """Raises ConfigError where the engine has no such image."""
    client = await in_thread(guard.connect)
    try:
        return str((await in_thread(lambda: find_image(client, name))).id)
    finally:
        client.close()


async def make_image(
    guard: Guard, sandbox: Sandbox, command: str, name: str, ignored: Callable[[], Awaitable[bytes]]
) -> None:
    """Run a shell command on the sandbox's image and workspace and keep what it made as the image `name`. `ignored`
    names files of the workspace, a line each, that go into it, too. Raises ConfigError where the command fails."""
    client = await in_thread(guard.connect)
    mark = secrets.token_hex(16)
    container = None
    try:
        env = {key: value for key, value in sandbox.env.items() if "proxy" in key.lower() or value == CA}
        certificates = await sandbox.read(CA) if CA in env.values() else b""
        # As arguments: the environment of a container stays in an image that is made of it.
        given = [f"{key}={value}" for key, value in {**_ENV, **env}.items()]
        arguments = [command, mark, str(len(certificates)), *given]
        async with guard:
            container = await in_thread(lambda: _create(client, sandbox, arguments))
            sock = await in_thread(lambda: _start(client, container))
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(certificates)
        said = b""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await reader.readexactly(8)
                said += await reader.readexactly(int.from_bytes(header[4:], "big"))
                if f"{mark}\n".encode() in said:
                    said = b""
                    writer.write(await ignored())
                    await writer.drain()
                    writer.write_eof()
                said = said[-_KEPT_OF_OUTPUT:]
        writer.close()
        code = await in_thread(lambda: int(container.wait(timeout=60)["StatusCode"]))
        if code != 0:
            remedy = (
                "\nIt had no network. Let it have one for once, with --net public or the hosts that it needs: what it "
                "makes is kept, and serves runs with --net none, too."
            )
            raise ConfigError(
                f"The setup ended with exit code {code}: {command}\nThe end of what it printed:\n"
                + said.decode("utf-8", "replace").strip()
                + (remedy if sandbox.network == "none" else "")
            )
        await in_thread(lambda: _commit(client, container, sandbox.place.image, name, command))
    finally:
        if container is not None:
            await in_full(in_thread(lambda: persist(lambda: container.remove(force=True, v=True))))
        client.close()


# in threads


def _create(client: DockerClient, sandbox: Sandbox, arguments: list[str]) -> Container:
    from docker.types import LogConfig, Mount

    run = sandbox.place.id
    beside = client.containers.get(f"dockwright-{run}")
    volumes = {mount["Destination"]: mount["Name"] for mount in beside.attrs["Mounts"] if mount["Type"] == "volume"}
    limits = beside.attrs["HostConfig"]
    return client.containers.create(
        find_image(client, sandbox.place.image),
        entrypoint=["sh", "-c", _SCRIPT, "setup"],
        command=arguments,
        name=f"dockwright-{run}-root",
        labels={LABEL: run, OWNER: owner()},
        user="0:0",
        working_dir=WORKSPACE,
        network_mode=f"container:{beside.id}",
        mounts=[
            Mount(WORKSPACE, volumes[WORKSPACE], type="volume"),
            Mount(RUNTIME, volumes[RUNTIME], type="volume", read_only=True),
            *hosts_of(beside),
        ],
        cap_drop=["ALL"],
        cap_add=["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETUID", "SETGID"],
        security_opt=["no-new-privileges"],
        pids_limit=limits["PidsLimit"],
        mem_limit=limits["Memory"],
        memswap_limit=limits["MemorySwap"],
        nano_cpus=limits["NanoCpus"],
        stdin_open=True,
        log_config=LogConfig(type="none"),
    )


def _start(client: DockerClient, container: Container) -> socket.socket:
    stream = client.api.attach_socket(str(container.id), {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    sock = taken(stream)
    sock.setblocking(False)
    container.start()
    return sock


def _commit(client: DockerClient, container: Container, base: str, name: str, command: str) -> None:
    """As the base says how to start and what to set; the container's own way, run and owner were ours."""
    told = find_image(client, base).attrs["Config"]
    kept = {key: told.get(key) for key in ("Entrypoint", "Cmd", "User", "WorkingDir", "Env")}
    labels = {**(told.get("Labels") or {}), SETUP_LABEL: command, LABEL: "", OWNER: ""}
    repository, _, tag = name.partition(":")
    container.commit(repository, tag, conf={**kept, "Labels": labels})
