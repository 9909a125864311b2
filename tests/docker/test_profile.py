"""What the container is allowed, as the engine says it, and what an image cannot change about it."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import WORKBENCH

from dockwright.sandbox import RUNTIME, open_sandbox
from dockwright.sandbox.docker import RUNTIME_IMAGE, Docker
from dockwright.sandbox.engine import connect

pytestmark = pytest.mark.docker


async def test_the_container_has_what_it_needs_and_nothing_of_the_host() -> None:
    async with open_sandbox(Docker(WORKBENCH, "test-profile", memory=1 << 30, cpus=1.5, pids=300)):
        client = connect()
        try:
            found = client.containers.get("dockwright-test-profile").attrs
        finally:
            client.close()
    host, config = found["HostConfig"], found["Config"]
    names = (
        "ReadonlyRootfs", "NetworkMode", "CapDrop", "SecurityOpt", "PidsLimit", "Memory", "MemorySwap", "NanoCpus",
        "Privileged", "Binds", "Devices", "PidMode", "UTSMode", "UsernsMode", "PortBindings",
    )  # fmt: skip
    assert {name: host[name] or None for name in names} == {
        "ReadonlyRootfs": True, "NetworkMode": "none", "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"],
        "PidsLimit": 300, "Memory": 1 << 30, "MemorySwap": 1 << 30, "NanoCpus": 1_500_000_000, "Privileged": None,
        "Binds": None, "Devices": None, "PidMode": None, "UTSMode": None, "UsernsMode": None, "PortBindings": None,
    }  # fmt: skip
    assert sorted(host["CapAdd"]) == ["CHOWN", "KILL", "SETGID", "SETPCAP", "SETUID"]
    assert (host["LogConfig"]["Type"], host["RestartPolicy"]["Name"] or "no") == ("none", "no")
    sources = {mount["Destination"]: mount["Source"] for mount in found["Mounts"]}
    assert {mount["Destination"] for mount in found["Mounts"] if mount["Type"] != "volume"} == {"/etc/hosts"}
    assert sources["/etc/hosts"] == f"{sources[RUNTIME]}/hosts"  # of ours, too
    assert [mount["RW"] for mount in found["Mounts"] if mount["Destination"] in (RUNTIME, "/etc/hosts")] == [False] * 2
    assert config["NetworkDisabled"]
    mine = {f"{name}={value}" for name, value in os.environ.items() if name not in ("PATH", "LANG")}
    assert mine & set(config["Env"]) == set()


async def test_an_image_sets_variables_for_commands_but_not_for_the_loader_of_the_runner() -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("bin/sh")
        data = Path("/bin/busybox").read_bytes()
        entry.size, entry.mode = len(data), 0o755
        tar.addfile(entry, io.BytesIO(data))
    changes = ["ENV LD_PRELOAD=/no/such/library.so", "ENV GREETING=hello", "ENV PYTHONHOME=/nowhere"]
    client = connect()
    try:
        client.api.import_image(src=archive.getvalue(), repository="dockwright-test/env", tag="only", changes=changes)
    finally:
        client.close()
    async with open_sandbox(Docker("dockwright-test/env:only", "test-env")) as sandbox:
        said = await sandbox.exec(["sh", "-c", "echo $GREETING; echo ${LD_PRELOAD:-none}"])
        ours = await sandbox.exec([f"{sandbox.runtime}/bin/git", "--version"])
        assert bytes(sandbox.channel.diagnostics) == b""  # where the loader complains of what it cannot preload
    assert (said.stdout, ours.stderr, ours.exit_code) == (b"hello\nnone\n", b"", 0)


@pytest.fixture
def runtime_of_before() -> Iterator[str]:
    """An image of the runtime from before it had a file of hosts."""
    name, client = "dockwright-test/runtime:before", connect()
    remove = ["import os", f"os.remove({RUNTIME + '/hosts'!r})"]
    made = client.containers.create(RUNTIME_IMAGE, [f"{RUNTIME}/bin/python3", "-c", "; ".join(remove)])
    try:
        made.start()
        assert made.wait()["StatusCode"] == 0
        made.commit(*name.split(":"))
        yield name
    finally:
        made.remove()
        known = str(client.images.get(name).id).removeprefix("sha256:")[:16]
        for volume in client.volumes.list():
            if known in str(volume.name):
                volume.remove()
        client.images.remove(name)
        client.close()


@pytest.mark.parametrize("runtime", ["now", "before"])
async def test_localhost_has_its_addresses(runtime: str, runtime_of_before: str) -> None:
    image = RUNTIME_IMAGE if runtime == "now" else runtime_of_before
    async with open_sandbox(Docker(WORKBENCH, f"test-localhost-{runtime}", runtime_image=image)) as sandbox:
        done = await sandbox.exec(["getent", "ahosts", "localhost"])
    assert {line.split()[0] for line in done.stdout.decode().splitlines()} == {"127.0.0.1", "::1"}, done
