"""Paths and words that a model gives to tools: none leads out of the sandbox, none becomes a flag of a program, and a
link, a race or a special file hurts the sandbox only."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.adversarial.careless import HOST_FOLDER, careless, contained
from tests.sandbox.conftest import Call

from dockwright.sandbox import Sandbox

SECRET = "host-secret-5f1c9d"
DEPTH = "../" * 12


@pytest.fixture
def host_file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path / "secret"


def spellings(path: str) -> list[str]:
    """One file in the words that are tried: absolute, relative, through links, through /proc, through ~."""
    return [
        path, DEPTH + path.lstrip("/"), f"/workspace/{DEPTH}{path.lstrip('/')}", f"/workspace/../..{path}",
        f"/proc/self/root{path}", f"/proc/1/root{path}", f"/proc/1/cwd{path}", f"/workspace/up{path}",
        "/workspace/direct", f"/proc/self/fd/3/..{path}", f"//{path}", f"/./{path}", f"~root/../{path}",
        f"/workspace-evil/../{path}",
    ]  # fmt: skip


async def plant(sandbox: Sandbox, path: str) -> None:
    await contained(sandbox)(f"ln -s / up; ln -s {path} direct; mkdir -p sub; echo x > sub/ok")


async def test_no_spelling_reads_a_file_of_the_host(sandbox: Sandbox, call: Call, host_file: Path) -> None:
    await plant(sandbox, str(host_file))
    for path in spellings(str(host_file)):
        said = (await call("Read", file_path=path)).text + (await call("Grep", pattern=".", path=path)).text
        said += (await call("Glob", pattern="**/*", path=path)).text
        said += await contained(sandbox)(f"cat '{path}' 2>&1")
        assert SECRET not in said, path


async def test_no_spelling_writes_one(sandbox: Sandbox, call: Call, host_file: Path) -> None:
    await plant(sandbox, str(host_file))
    for path in spellings(str(host_file)):
        await call("Write", file_path=path, content="evil")
        await call("Edit", file_path=path, old_string=SECRET, new_string="evil")
        await contained(sandbox)(f"echo evil > '{path}'; rm -f '{path}'")
    assert host_file.read_text() == SECRET + "\n"
    assert [path.name for path in host_file.parent.iterdir()] == ["secret"]


@pytest.mark.docker
async def test_most_do_where_the_folder_is_mounted(host_file: Path) -> None:
    async with careless(host_file.parent) as sh:
        inside = f"{HOST_FOLDER}/secret"
        await sh(f"mkdir -p /workspace; cd /workspace; ln -s / up; ln -s {inside} direct")
        read = [path for path in spellings(inside) if SECRET in await sh(f"cd /workspace; cat '{path}' 2>&1")]
        await sh(f"ln {inside} {HOST_FOLDER}/hard; echo evil > {HOST_FOLDER}/hard")
    assert len(read) > 6
    assert host_file.read_text() == "evil\n"


async def test_a_path_that_changes_under_a_reader_shows_nothing_of_the_host(
    sandbox: Sandbox, call: Call, host_file: Path
) -> None:
    race = f"echo fine > real; while :; do ln -sfn real turn; ln -sfn {host_file} turn; done"
    job = await sandbox.spawn(["sh", "-c", race])
    said = [(await call("Read", file_path="/workspace/turn")).text for _ in range(40)]
    await sandbox.kill(job.id)
    assert not [text for text in said if SECRET in text]


FLAGS = (
    "--pre=/workspace/evil",
    "--pre-glob=*",
    "-f/etc/passwd",
    "--hostname-bin=/workspace/evil",
    "--files",
    "-z",
    "--",
)


async def test_no_word_of_the_model_is_a_flag(sandbox: Sandbox, call: Call) -> None:
    sh = contained(sandbox)
    await sh("printf '#!/bin/sh\\ntouch /workspace/sprung\\n' > evil; chmod +x evil; echo text > file; cp file -- -rf")
    await sh("cp file -- '--pre=x'; mkdir -- '--pre'; echo in > ./--pre/f")
    for flag in FLAGS:
        await call("Grep", pattern=flag, path="/workspace")
        await call("Grep", pattern="text", path=flag)
        await call("Grep", pattern="text", glob=flag)
        await call("Grep", pattern="text", type=flag)
        await call("Glob", pattern=flag, path="/workspace")
        await call("Read", file_path=f"/workspace/{flag}")
    assert await sh("ls sprung 2>/dev/null; ls -A | grep -c rf") == "1"
    assert "text" in (await call("Read", file_path="/workspace/-rf")).text


@pytest.mark.docker
async def test_a_careless_command_line_takes_it_for_one(tmp_path: Path) -> None:
    async with careless(tmp_path) as sh:
        await sh("mkdir /w; cd /w; printf '#!/bin/sh\\ntouch /w/sprung\\n' > evil; chmod +x evil; echo text > file")
        pattern = "--pre=/w/evil"
        await sh(f"cd /w; rg {pattern} text .")
        assert "sprung" in await sh("ls /w")
