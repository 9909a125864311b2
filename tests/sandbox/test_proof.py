"""The proof: checks run by us in a sandbox that holds base and patch, and nothing that the agent left elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from tests.conftest import new_place
from tests.repositories import agent_commit, new_repository, write

from dockwright.events import CheckFinished, ProofStarted
from dockwright.journal import Journal, read
from dockwright.proof import Demands, prove
from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.workspace import Workspace, snapshot

OpenClean = Callable[[], AbstractAsyncContextManager[Sandbox]]


@pytest.fixture
def open_clean(backend: str) -> OpenClean:
    return lambda: open_sandbox(new_place(backend))


@pytest.fixture
async def workspace(tmp_path: Path) -> Workspace:
    repo = new_repository(tmp_path / "repo", {"README.md": b"# Orders\n", ".gitignore": b"build/\n"})
    write(repo, {"draft.txt": b"uncommitted\n"})
    return await snapshot(repo, tmp_path / "state")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.jsonl") as journal:
        yield journal


async def test_every_check_runs_in_order_and_is_journalled(
    workspace: Workspace, open_clean: OpenClean, journal: Journal
) -> None:
    git = "${GIT:-$(command -v /opt/dockwright/bin/git || command -v git)}"
    checks = {
        "pwd; cat app.txt draft.txt; cat missing": (1, "/workspace\nnew\nuncommitted\ncat: missing: No such file"),
        f"{git} log --format=%s; {git} status --porcelain": (
            0,
            "Changes by dockwright\nUncommitted work carried in\nStart\n",
        ),
        "echo before; sleep 60; echo after": (None, "before\n"),
        "kill -9 $$": (137, ""),
        "(sleep 99; echo late > left.txt) & echo started": (0, "started\n"),
        "echo made > build.txt; cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 9[9]'": (1, "0\n"),
        "cat build.txt": (0, "made\n"),
        "seq 100000": (0, "1\n2\n3\n"),
    }
    commit = await agent_commit(workspace, {"app.txt": b"new\n"})

    proof = await prove(open_clean, workspace, commit, Demands(tuple(checks), seconds=2), journal=journal)
    finished = proof.checks

    assert [check.command for check in finished] == list(checks)
    assert [check.exit_code for check in finished] == [code for code, _ in checks.values()]
    for check, (_, start) in zip(finished, checks.values(), strict=True):
        assert check.output.startswith(start), check
    first, *others = read(journal.path)
    assert (isinstance(first, ProofStarted), tuple(others)) == (True, finished)
    assert proof.reason.startswith("failed in the clean sandbox: pwd; cat app.txt")
    assert len(finished[-1].output) < 40_000
    assert finished[-1].output.endswith("99999\n100000\n")
    assert " bytes left out ..." in finished[-1].output
    assert 2 <= finished[2].seconds < 55


async def test_what_the_agent_left_outside_the_patch_does_not_help(
    sandbox: Sandbox, workspace: Workspace, open_clean: OpenClean, journal: Journal
) -> None:
    await workspace.enter(sandbox)
    await sandbox.exec(["sh", "-c", "mkdir build; echo ok > build/result; echo ok > /tmp/result; echo x > kept.txt"])
    check = "cat build/result /tmp/result && test -f kept.txt"
    agents_own = await sandbox.exec(["sh", "-c", check])
    done = await workspace.checkpoint(sandbox, "Work")
    demands = Demands((check, "test -f kept.txt"), seconds=20)
    proof = await prove(open_clean, workspace, done.commit, demands, journal=journal)
    await sandbox.exec(["rm", "/tmp/result"])
    assert agents_own.exit_code == 0
    assert [check.exit_code for check in proof.checks] == [1, 0]


async def test_the_sandbox_is_closed_however_the_proof_ends(
    workspace: Workspace, backend: str, journal: Journal
) -> None:
    closed = asyncio.Event()

    @asynccontextmanager
    async def open_clean() -> AsyncIterator[Sandbox]:
        try:
            async with open_sandbox(new_place(backend)) as sandbox:
                yield sandbox
        finally:
            closed.set()

    proving = asyncio.create_task(
        prove(open_clean, workspace, workspace.base, Demands(("true", "sleep 60"), seconds=90), journal=journal)
    )
    while not any(isinstance(event, CheckFinished) for event in read(journal.path)):
        await asyncio.sleep(0.05)
    proving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await proving
    assert closed.is_set()
