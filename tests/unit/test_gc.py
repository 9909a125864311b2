"""What is left over, and what is not: judged by the owner, whatever was made when the owner was killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from dockwright.gc import Leftover, leftovers
from dockwright.journal import Journal
from dockwright.sandbox.engine import LABEL, OWNER, connect
from dockwright.sandbox.owner import is_gone, owner

HOST, BOOT, SPACE, PROCESS, STARTED = owner().rsplit(":", 4)


def of_the_dead() -> str:
    script = "from dockwright.sandbox.owner import owner; print(owner())"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "runs").mkdir()
    return tmp_path


def found(temp: Path) -> list[Leftover]:
    return [left for left in leftovers(temp / "runs") if str(temp) in left.what]


def folder(temp: Path, name: str, said: str | None, *, age: float = 0) -> Path:
    made = temp / f"dockwright-{name}"
    (made / "workspace").mkdir(parents=True)
    if said is not None:
        (made / "owner").write_text(said)
    os.utime(made, (time.time() - age, time.time() - age))
    return made


@pytest.mark.parametrize(
    ("said", "gone"),
    [
        (owner(), False),
        (f"{HOST}:{BOOT}:{SPACE}:{PROCESS}:1", True),  # the id is used again
        (f"{HOST}:{BOOT}:{SPACE}:4194303:1", True),
        (f"{HOST}:before-it-was-started-anew:{SPACE}:{PROCESS}:{STARTED}", True),
        (f"{HOST}:{BOOT}:1:4194303:1", False),  # a container beside us: not to be seen from here
        (f"elsewhere:{BOOT}:{SPACE}:4194303:1", False),
        (f"elsewhere:another-boot:{SPACE}:4194303:1", False),
        ("", False),
        ("nonsense", False),
        (f"{HOST}:::x:", False),
    ],
    ids=lambda value: None if isinstance(value, bool) else "owner",
)
def test_only_of_this_host_it_is_known_who_is_gone(said: str, gone: bool) -> None:
    assert is_gone(said) is gone


def test_an_ended_child_that_nobody_waited_for_is_gone() -> None:
    script = "from dockwright.sandbox.owner import owner; print(owner(), flush=True)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = child.stdout.readline().strip()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(said)
    child.communicate()


def test_a_folder_goes_with_its_owner_and_not_before(temp: Path) -> None:
    dead, alive = folder(temp, "dead", of_the_dead()), folder(temp, "alive", owner())
    assert [left.what for left in found(temp)] == [f"folder {dead}"]
    for left in found(temp):
        left.remove()
    assert (dead.exists(), alive.exists()) == (False, True)


def test_a_folder_without_an_owner_yet_has_an_hour_to_get_one(temp: Path) -> None:
    folder(temp, "new", None)
    folder(temp, "new-empty", "")
    old = [folder(temp, "old", None, age=4000), folder(temp, "old-empty", "", age=4000)]
    assert sorted(left.what for left in found(temp)) == [f"folder {path}" for path in old]


def test_planted_links_and_fifos_are_not_followed(temp: Path) -> None:
    victim = temp / "victim"
    victim.mkdir()
    (victim / "owner").write_text(of_the_dead())
    (temp / "dockwright-link").symlink_to(victim)
    (folder(temp, "inner", None) / "owner").symlink_to(victim / "owner")
    os.mkfifo(folder(temp, "fifo", None) / "owner")
    (temp / "dockwright-file").write_text(of_the_dead())
    assert found(temp) == []
    assert victim.exists()


@pytest.mark.parametrize("uid", [4321] if os.getuid() == 0 else [])
def test_another_users_folder_is_not_touched(temp: Path, uid: int) -> None:
    theirs = folder(temp, "theirs", of_the_dead())
    os.chown(theirs, uid, uid)
    assert found(temp) == []


def test_old_temporary_files_of_a_killed_git_go_and_new_ones_stay(temp: Path) -> None:
    packs = temp / "runs/abc/objects.git/objects/pack"
    packs.mkdir(parents=True)
    names = ("tmp_pack_old", "tmp_pack_new", "pack-1.pack")
    for name in names:
        (packs / name).write_bytes(b"x")
    (temp / "runs/abc/tmpold").mkdir()
    for path in (packs / names[0], packs / names[2], temp / "runs/abc/tmpold"):
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    for left in found(temp):
        left.remove()
    assert sorted(path.name for path in packs.iterdir()) == ["pack-1.pack", "tmp_pack_new"]
    assert not (temp / "runs/abc/tmpold").exists()


def test_the_folder_of_an_app_that_is_shown_stays_and_that_of_a_killed_one_goes(temp: Path) -> None:
    shown, killed = (temp / f"runs/abc/open-{name}" for name in ("shown", "killed"))
    for folder in (shown, killed):
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").touch()
    with Journal(shown / "journal.jsonl"):
        for folder in (shown, killed):
            os.utime(folder, (time.time() - 2 * 86400,) * 2)
        assert [left.what for left in found(temp)] == [f"temporary {killed}"]


@pytest.mark.docker
def test_everything_of_a_dead_owner_goes_that_carries_its_label(temp: Path) -> None:
    name = f"gc-{uuid.uuid4().hex[:8]}"
    client = connect()
    dead = {LABEL: name, OWNER: of_the_dead()}
    client.volumes.create(f"{name}-dead", labels=dead)
    client.volumes.create(f"{name}-alive", labels={LABEL: f"{name}-alive", OWNER: owner()})
    client.volumes.create(f"{name}-taken-over", labels={LABEL: f"{name}-alive", OWNER: of_the_dead()})
    client.containers.create("dockwright/workbench:latest", ["true"], name=f"{name}-dead", labels=dead)
    client.networks.create(f"{name}-dead", driver="bridge", internal=True, labels=dead)
    try:
        mine = [left for left in leftovers(temp / "runs") if name in left.what]
        assert [left.what for left in mine] == [f"{kind} {name}-dead" for kind in ("container", "network", "volume")]
        for left in mine:
            left.remove()
        assert [volume.name for volume in client.volumes.list(filters={"label": f"{LABEL}={name}-alive"})] != []
        assert client.volumes.list(filters={"label": f"{LABEL}={name}"}) == []
    finally:
        for kept in client.volumes.list(filters={"label": f"{LABEL}={name}-alive"}):
            kept.remove(force=True)
        client.close()


def test_the_owner_names_this_very_process() -> None:
    assert (socket.gethostname(), str(os.getpid())) == (HOST, PROCESS)
