"""The folders of dockwright itself: private, not guessable, and a link that was planted in them is not followed."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from tests.conftest import BACKENDS, new_place
from tests.e2e.running import REPORT, WRITE, Desk
from tests.repositories import new_repository

from dockwright.errors import DockwrightError
from dockwright.journal import Journal
from dockwright.sandbox import open_sandbox
from dockwright.testing.scripted_api import Turn
from dockwright.workspace import snapshot
from dockwright.workspace.durable import write_durably


@pytest.mark.parametrize("backend", BACKENDS)
async def test_all_that_a_run_keeps_is_the_users_alone(tmp_path: Path, backend: str) -> None:
    os.umask(0)
    try:
        desk = Desk(tmp_path)
        code, said = await desk.run([Turn([WRITE]), Turn([REPORT]), "Done."], backend=backend)
    finally:
        os.umask(0o022)
    assert code == 0, said
    run = desk.runs[-1]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (run, run.parent, run.parent.parent)} == {0o700}
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in run.iterdir() if path.is_file()} == {
        path.name: oct(0) for path in run.iterdir() if path.is_file()
    }


def test_a_journal_is_not_written_through_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "journal.jsonl").symlink_to(victim)
    with pytest.raises((OSError, DockwrightError)), Journal(tmp_path / "journal.jsonl"):
        pass
    assert victim.read_text() == "mine"


def test_a_file_is_replaced_and_not_written_through_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "workspace.json").symlink_to(victim)
    write_durably(tmp_path / "workspace.json", b"ours")
    assert (victim.read_text(), (tmp_path / "workspace.json").is_symlink()) == ("mine", False)


def test_a_careless_write_goes_through_it(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "workspace.json").symlink_to(victim)
    (tmp_path / "workspace.json").write_bytes(b"ours")
    assert victim.read_text() == "ours"


async def test_a_planted_repository_in_the_state_folder_is_not_used(tmp_path: Path) -> None:
    repo, state = new_repository(tmp_path / "repo"), tmp_path / "state"
    victim = new_repository(tmp_path / "victim")
    state.mkdir()
    (state / "objects.git").symlink_to(victim / ".git")
    before = sorted(path.name for path in (victim / ".git").rglob("*"))
    with pytest.raises(DockwrightError):
        await snapshot(repo, state)
    assert sorted(path.name for path in (victim / ".git").rglob("*")) == before


async def test_a_name_in_tmp_cannot_be_guessed_and_nobody_else_looks_into_it() -> None:
    async with open_sandbox(new_place("bubblewrap")) as one, open_sandbox(new_place("bubblewrap")) as other:
        folders = [*Path(tempfile.gettempdir()).glob(f"dockwright-{one.place.id}-*")]
        folders += Path(tempfile.gettempdir()).glob(f"dockwright-{other.place.id}-*")
        assert len({folder.name.rpartition("-")[2] for folder in folders}) == len(folders) == 2
        assert {stat.S_IMODE(folder.stat().st_mode) & 0o066 for folder in folders} == {0}
