"""What comes back to the user: one branch of clear origin and a patch, and nothing else in the repository moves."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.repositories import agent_commit, everything, git, new_repository, write

from dockwright.events import Delivered
from dockwright.workspace import snapshot


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def test_a_delivery_is_one_commit_by_dockwright_with_its_origin_in_the_message(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    first = await agent_commit(workspace, {"src/app.py": b"print('more')\nprint('orders')\n", "README.md": None})
    delivered = await workspace.deliver(
        "r1", first, "Say more\nAnd drop the readme.", trailers="Assisted-by: dockwright:claude-x"
    )
    assert delivered is not None
    assert delivered == Delivered(
        at=delivered.at,
        branch="dockwright/r1",
        commit=git(repo, "rev-parse", "dockwright/r1"),
        patch=str(state / "changes.patch"),
        files=2,
        insertions=1,
        deletions=1,
    )
    about = git(repo, "show", "-s", "--format=%an <%ae>|%cn|%P|%B", "dockwright/r1")
    assert about == (
        f"dockwright <noreply@dockwright.invalid>|dockwright|{workspace.head}|"
        "Say more\n\nAnd drop the readme.\n\nAssisted-by: dockwright:claude-x"
    )
    assert git(repo, "log", "-1", "--format=%(trailers)", "dockwright/r1") == "Assisted-by: dockwright:claude-x"


async def test_uncommitted_work_of_the_user_is_a_commit_of_its_own(repo: Path, state: Path) -> None:
    write(repo, {"README.md": b"# Mine\n"})
    workspace = await snapshot(repo, state)
    await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add new")
    assert git(repo, "log", "--format=%s", "dockwright/r1") == "Add new\nUncommitted work carried in\nStart"
    assert git(repo, "diff", "--name-status", "dockwright/r1~1", "dockwright/r1") == "A\tnew"
    assert git(repo, "diff", "--name-status", "main", "dockwright/r1~1") == "M\tREADME.md"


async def test_head_index_stash_reflog_config_and_files_stay_as_they_are(repo: Path, state: Path) -> None:
    write(repo, {"README.md": b"# Stashed\n"})
    git(repo, "stash", "-q")
    git(repo, "branch", "feature")
    git(repo, "tag", "v1")
    write(repo, {"README.md": b"# Staged\n"})
    git(repo, "add", "README.md")
    write(repo, {"README.md": b"# Edited\n", "untracked": b"x"})
    git(repo, "config", "core.logAllRefUpdates", "always")
    git(repo, "config", "fetch.writeCommitGraph", "true")
    git(repo, "config", "gc.auto", "1")
    status = git(repo, "status", "--porcelain")
    before = everything(repo, but_objects=True)

    workspace = await snapshot(repo, state)
    await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add new")

    after = everything(repo, but_objects=True)
    added = after.keys() - before.keys()
    assert added == {".git/refs/heads/dockwright", ".git/refs/heads/dockwright/r1"}
    assert {name: facts for name, facts in after.items() if name not in added} == before
    assert git(repo, "status", "--porcelain") == status


async def test_the_patch_file_holds_the_same_change_for_any_clone(repo: Path, state: Path, tmp_path: Path) -> None:
    workspace = await snapshot(repo, state)
    blob = bytes(range(256)) * 40
    commit = await agent_commit(workspace, {"logo.png": blob, "README.md": None, "a b\tc": b"x", "src/app.py": b"y"})
    delivered = await workspace.deliver("r1", commit, "Change")
    assert delivered is not None
    patch = Path(delivered.patch)
    assert patch.read_bytes() == await workspace.patch(commit)
    assert stat.S_IMODE(patch.stat().st_mode) == 0o600
    git(tmp_path, "clone", "-q", "--no-local", str(repo), "other")
    git(tmp_path / "other", "apply", "--index", str(patch))
    assert git(tmp_path / "other", "write-tree") == git(repo, "rev-parse", "dockwright/r1^{tree}")


async def test_nothing_changed_is_nothing_delivered(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    assert await workspace.deliver("r1", workspace.base, "Nothing") is None
    assert (git(repo, "branch", "--list"), (state / "changes.patch").exists()) == ("* main", False)


async def test_a_branch_that_was_not_asked_for_is_not_made(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"n": b"n"}), "Add", branch=False)
    assert delivered is not None
    assert (delivered.branch, delivered.notes, git(repo, "branch", "--list")) == (None, (), "* main")


async def test_where_the_branch_cannot_be_there_is_the_patch_and_the_reason(repo: Path, state: Path) -> None:
    git(repo, "branch", "dockwright")
    workspace = await snapshot(repo, state)
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add new")
    assert delivered is not None
    assert (delivered.branch, Path(delivered.patch).exists()) == (None, True)
    assert len(delivered.notes) == 1
    assert delivered.notes[0].startswith("a branch called dockwright leaves no room for others below it; rename it")


async def test_a_branch_that_somebody_moved_is_left_where_it_is(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    await workspace.deliver("r1", await agent_commit(workspace, {"new": b"1"}), "One")
    git(repo, "branch", "-f", "dockwright/r1", "main")
    git(repo, "-c", "user.name=U", "-c", "user.email=u@e.x", "commit", "-q", "--allow-empty", "-m", "Own")
    git(repo, "branch", "-f", "dockwright/r1", "main")
    own = git(repo, "rev-parse", "main")
    again = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"2"}), "Two")
    assert again is not None
    assert (again.branch, git(repo, "rev-parse", "dockwright/r1")) == (None, own)


async def test_a_second_delivery_is_the_same_commit_or_one_on_top(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    first = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"1"}), "One")
    same = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"1"}), "One")
    assert first is not None
    assert same is not None
    assert (same.branch, same.commit) == ("dockwright/r1", first.commit)
    more = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"2"}), "Two")
    assert more is not None
    assert (more.branch, more.files) == ("dockwright/r1", 1)
    assert git(repo, "log", "--format=%s", "main..dockwright/r1") == "Two\nOne"


async def test_a_gitmodules_file_that_attacks_git_does_not_enter_the_repository(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    attack = b'[submodule "../../x"]\n\tpath = x\n\turl = -u./payload\n'
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {".gitmodules": attack}), "Attack")
    assert delivered is not None
    assert delivered.branch is None
    assert "gitmodules" in delivered.notes[0]


async def test_a_repository_that_is_gone_is_no_reason_to_lose_the_work(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    commit = await agent_commit(workspace, {"new": b"new\n"})
    repo.rename(repo.with_name("moved"))
    delivered = await workspace.deliver("r1", commit, "Add new")
    assert delivered is not None
    assert (delivered.branch, b"+new" in Path(delivered.patch).read_bytes()) == (None, True)
    assert "does not exist" in delivered.notes[0]


async def test_new_links_that_lead_out_of_the_repository_are_named(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    commit = await agent_commit(workspace, {"etc": b"/etc", "src/up": b"../..", "src/in": b"../README.md"}, "120000")
    delivered = await workspace.deliver("r1", commit, "Links")
    assert delivered is not None
    assert sorted(delivered.notes) == [
        "etc is a link that leads out of the repository, to /etc",
        "src/up is a link that leads out of the repository, to ../..",
    ]


async def test_control_and_bidi_characters_stay_out_of_the_message(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    message = "\x1b[31mRed\x07 \u202etxt.exe\u200b\r\nBody\x00\u2066 here\n\n"
    await workspace.deliver(
        "r1", await agent_commit(workspace, {"n": b"n"}), message, trailers="Assisted-by: dockwright:m"
    )
    assert git(repo, "log", "-1", "--format=%B", "dockwright/r1") == (
        "[31mRed txt.exe\n\nBody here\n\nAssisted-by: dockwright:m"
    )


@pytest.mark.parametrize(
    ("task", "subject"),
    [
        (
            "Build an orders service with FastAPI, PostgreSQL and migrations, and test it well",
            "Build an orders service with FastAPI, PostgreSQL and migrations",
        ),
        (
            "Build an orders service with FastAPI PostgreSQL and migrations that go both up and down",
            "Build an orders service with FastAPI PostgreSQL and migrations that go…",
        ),
    ],
)
async def test_a_long_task_becomes_a_subject_that_ends_with_a_clause_or_a_word_and_a_whole_body(
    repo: Path, state: Path, task: str, subject: str
) -> None:
    workspace = await snapshot(repo, state)
    commit = await agent_commit(workspace, {"n": b"n"})
    await workspace.deliver("r1", commit, task, trailers="Assisted-by: dockwright:m")
    lines = git(repo, "log", "-1", "--format=%B", "dockwright/r1").splitlines()
    assert lines == [subject, "", task, "", "Assisted-by: dockwright:m"]


async def test_changes_are_told_as_counts_names_and_text(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    one = await agent_commit(workspace, {"src/app.py": b"a\nb\n", "bin": b"\0\1"})
    two = await agent_commit(workspace, {"src/app.py": b"a\nc\n", "bin": b"\0\1"})
    assert await workspace.quarantine.changes_with_lines(workspace.base, one) == (
        await workspace.quarantine.changes(workspace.base, one), 2, 1,
    )  # fmt: skip
    assert await workspace.changed_files(one) == ("bin", "src/app.py")
    assert (await workspace.diff_text(one, two)).splitlines()[-5:] == [
        "+++ b/src/app.py", "@@ -1,2 +1,2 @@", " a", "-b", "+c",
    ]  # fmt: skip


async def test_the_author_may_be_the_user_and_the_committer_stays_dockwright(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    commit = await agent_commit(workspace, {"n": b"n"})
    await workspace.deliver("r1", commit, "Add", author=("Ann", "ann@example.com"))
    assert git(repo, "log", "-1", "--format=%an <%ae>|%cn", "dockwright/r1") == "Ann <ann@example.com>|dockwright"
