"""Packs come out of the sandbox and may hold anything: what is malformed, misnamed or without end is refused."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from tests.repositories import agent_commit, git, new_repository

from dockwright.workspace import Workspace, snapshot
from dockwright.workspace.hardened import GitError


@pytest.fixture
async def workspace(tmp_path: Path) -> Workspace:
    return await snapshot(new_repository(tmp_path / "repo"), tmp_path / "state")


@pytest.fixture
def forge(tmp_path: Path) -> Path:
    """A repository in which the attacker makes objects."""
    return new_repository(tmp_path / "forge", {"f": b"x"})


def mktree(forge: Path, *lines: str) -> str:
    done = subprocess.run(
        ["git", "mktree", "--missing", "-z"],
        cwd=forge,
        input="".join(f"{line}\0" for line in lines).encode(),
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def pack(forge: Path, *oids: str, revs: bool = True) -> bytes:
    line = ["git", "pack-objects", "--stdout", "-q", *(["--revs"] if revs else [])]
    return subprocess.run(
        line, cwd=forge, input="\n".join(oids).encode() + b"\n", capture_output=True, check=True
    ).stdout


async def take(workspace: Workspace, data: bytes, folder: Path) -> None:
    with (folder / "pack").open("w+b") as file:
        file.write(data)
        await workspace.quarantine.take_in(file)


async def test_a_pack_comes_in_with_a_commit_of_its_tree(workspace: Workspace, forge: Path, tmp_path: Path) -> None:
    tree, blob, base = git(forge, "rev-parse", "HEAD^{tree}"), git(forge, "rev-parse", "HEAD:f"), workspace.base
    with (tmp_path / "pack").open("w+b") as file:
        file.write(pack(forge, tree))
        for wrong in ("1" * 40, base, blob):
            with pytest.raises(GitError, match=r"commit-tree .* failed"):
                await workspace.quarantine.take_in_commit(file, wrong, base, "Turn 1", base)
        made, changes = await workspace.quarantine.take_in_commit(file, tree, base, "Turn \N{SNOWMAN}", base)
    assert made == await workspace.quarantine.commit(tree, base, "Turn \N{SNOWMAN}\n", "@0 +0000")
    assert changes == await workspace.quarantine.changes(base, tree)


@pytest.mark.parametrize("name", [".git", ".GIT", ".git ", "git~1", ".gi\u200ct", "..", "."])
async def test_a_tree_with_a_forbidden_name_is_refused(
    workspace: Workspace, forge: Path, tmp_path: Path, name: str
) -> None:
    blob = git(forge, "rev-parse", "HEAD:f")
    tree = mktree(forge, f"100644 blob {blob}\t{name}")
    with pytest.raises(GitError, match="index-pack failed"):
        await take(workspace, pack(forge, tree), tmp_path)


async def test_a_pack_that_is_none_or_ends_too_soon_is_refused(
    workspace: Workspace, forge: Path, tmp_path: Path
) -> None:
    whole = pack(forge, "HEAD")
    for data in (b"", b"garbage" * 1000, whole[:-30], whole[:12] + b"\xff" * 100 + whole[112:]):
        with pytest.raises(GitError, match="index-pack failed"):
            await take(workspace, data, tmp_path)


async def test_a_tree_that_leads_to_nothing_is_refused(workspace: Workspace, forge: Path, tmp_path: Path) -> None:
    tree = mktree(forge, f"100644 blob {'1' * 40}\tfile")
    with pytest.raises(GitError, match="index-pack failed"):
        await take(workspace, pack(forge, tree, revs=False), tmp_path)


async def test_a_tree_that_unfolds_without_end_is_refused(workspace: Workspace, forge: Path, tmp_path: Path) -> None:
    entry = "100644 blob " + git(forge, "rev-parse", "HEAD:f")
    oids = [entry.split()[-1]]
    for _ in range(10):
        oids.append(mktree(forge, *(f"{entry}\t{index:02}" for index in range(64))))
        entry = f"040000 tree {oids[-1]}"
    await take(workspace, pack(forge, *oids, revs=False), tmp_path)
    with pytest.raises(GitError, match="diff-tree failed"):
        await workspace.quarantine.changes(workspace.base, oids[-1])


async def test_a_tree_of_endless_depth_is_refused(workspace: Workspace, forge: Path, tmp_path: Path) -> None:
    blob = git(forge, "rev-parse", "HEAD:f")
    stream = b'commit refs/heads/deep\ncommitter E <e@e> 0 +0000\ndata 1\nx\nM 100644 %s "%s"\n'
    path = b"d/" * 2500 + b"f"
    subprocess.run(["git", "fast-import", "--quiet"], cwd=forge, input=stream % (blob.encode(), path), check=True)
    await take(workspace, pack(forge, "refs/heads/deep^{tree}"), tmp_path)
    changes = await workspace.quarantine.changes(workspace.base, git(forge, "rev-parse", "refs/heads/deep^{tree}"))
    from dockwright.workspace.space import refusal_of

    assert [refusal_of(change) for change in changes if change.new] == ["longer than 4,096 bytes"]


async def test_objects_that_were_there_are_not_replaced(workspace: Workspace, forge: Path, tmp_path: Path) -> None:
    before = await workspace.quarantine.git("cat-file", "-p", f"{workspace.base}:README.md")
    await take(workspace, pack(workspace.repo, "HEAD"), tmp_path)
    assert await workspace.quarantine.git("cat-file", "-p", f"{workspace.base}:README.md") == before


async def test_a_patch_without_end_is_an_error(workspace: Workspace) -> None:
    commit = await agent_commit(workspace, {"zeros": bytes(4 << 20)})
    with pytest.raises(GitError, match="diff failed"):
        await workspace.quarantine.diff("diff", "--text", workspace.base, commit, limit=1 << 20)


async def test_without_care_a_forbidden_name_is_taken_in_and_checked_out(forge: Path, tmp_path: Path) -> None:
    tree = mktree(forge, f"100644 blob {git(forge, 'rev-parse', 'HEAD:f')}\t..")
    careless_store = new_repository(tmp_path / "store")
    subprocess.run(["git", "index-pack", "--stdin"], cwd=careless_store, input=pack(forge, tree), check=True)
    assert git(careless_store, "ls-tree", "--name-only", tree) == ".."


async def test_a_delta_chain_that_unfolds_to_gigabytes_is_refused(
    workspace: Workspace, forge: Path, tmp_path: Path
) -> None:
    data = bomb()
    assert len(data) < 1 << 20
    with pytest.raises(GitError, match="index-pack failed"):
        await take(workspace, data, tmp_path)


def test_a_small_one_unfolds_in_a_careless_repository(tmp_path: Path) -> None:
    store = new_repository(tmp_path / "store")
    said = subprocess.run(["git", "index-pack", "--stdin"], cwd=store, input=bomb(10), capture_output=True, check=True)
    listing = git(store, "verify-pack", "-v", f".git/objects/pack/pack-{said.stdout.split()[1].decode()}.idx")
    assert str(10 * 0xFFFFFF) in git(store, "cat-file", "--batch-all-objects", "--batch-check=%(objectsize)"), listing


def bomb(times: int = 300) -> bytes:
    """A blob of 16 MiB of zeros, and on it a delta that says it so many times over: a pack of some kilobytes."""
    base = bytes(16 << 20)
    copies = b"\xf0\xff\xff\xff" * times
    result = 0xFFFFFF * times
    delta = varint(len(base)) + varint(result) + copies
    first = header(3, len(base)) + zlib.compress(base, 9)
    at = 12
    second_at = at + len(first)
    second = header(6, len(delta)) + offset(second_at - at) + zlib.compress(delta, 9)
    body = b"PACK" + struct.pack(">II", 2, 2) + first + second
    return body + hashlib.sha1(body).digest()  # noqa: S324 - git's own checksum


def varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def header(kind: int, size: int) -> bytes:
    first, size = (kind << 4) | (size & 15), size >> 4
    return bytes([first | 0x80]) + varint(size) if size else bytes([first])


def offset(number: int) -> bytes:
    parts = [number & 0x7F]
    while number := (number >> 7):
        number -= 1
        parts.insert(0, number & 0x7F | 0x80)
    return bytes(parts)
