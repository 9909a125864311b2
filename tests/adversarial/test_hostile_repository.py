"""A repository whose every part is hostile: nothing in it may run on the host, nor lead to what is not its own.

Each trap leaves a file when it is sprung. Plain git springs the traps first, so that one that cannot be sprung would
show itself; then a whole run (snapshot, delivery, apply) goes over a repository armed in the same way.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.repositories import IDENTITY, agent_commit, everything, git, new_repository, tree, write

from dockwright.errors import ConfigError
from dockwright.workspace import apply, snapshot

HOOKS = (
    "applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit", "prepare-commit-msg",
    "commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-merge", "pre-push", "post-rewrite",
    "reference-transaction", "push-to-checkout", "pre-auto-gc", "post-index-change", "fsmonitor-watchman",
)  # fmt: skip
CONFIG = """
[core]
\tfsmonitor = {fsmonitor}
\tsshCommand = {ssh}
\tpager = {pager}
\teditor = {editor}
\taskPass = {askpass}
\tgitProxy = {gitproxy}
\talternateRefsCommand = {alternaterefs}
\tuntrackedCache = true
[diff]
\texternal = {external}
[diff "evil"]
\ttextconv = {textconv}
\tcommand = {diffcommand}
[filter "evil"]
\tclean = {clean}
\tsmudge = {smudge}
\trequired = true
[merge "evil"]
\tdriver = {merge}
[gpg]
\tprogram = {gpg}
[commit]
\tgpgSign = true
[log]
\tshowSignature = true
[credential]
\thelper = !{credential}
[uploadpack]
\tpackObjectsHook = {packobjects}
[tar "tgz"]
\tcommand = {tar}
[gc]
\tauto = 1
[maintenance]
\tauto = true
[protocol]
\tallow = always
[protocol "ext"]
\tallow = always
[remote "origin"]
\turl = {evilrepo}
\tuploadpack = {remoteuploadpack}
\tpromisor = true
\tfetch = +refs/*:refs/*
[url "ext::{insteadof} "]
\tinsteadOf = file://
[fetch]
\trecurseSubmodules = true
\twriteCommitGraph = true
\tbundleURI = {evilrepo}
[submodule "lib"]
\turl = ext::{submoduleurl}
\tupdate = !{submoduleupdate}
\tactive = true
[alias]
\trev-parse = !{alias}
\tfetch = !{alias}
[include]
\tpath = ../included
"""
TRAPS = (
    "fsmonitor", "ssh", "pager", "editor", "askpass", "gitproxy", "alternaterefs", "external", "textconv",
    "diffcommand", "clean", "smudge", "merge", "gpg", "credential", "packobjects", "tar", "remoteuploadpack",
    "insteadof", "submoduleurl", "submoduleupdate", "alias",
)  # fmt: skip


class Armed:
    """A repository full of traps, and where they tell that they were sprung."""

    def __init__(self, folder: Path) -> None:
        self.repo, self._sprung, self._traps = folder / "repo", folder / "sprung", folder / "traps"
        for new in (self._sprung, self._traps):
            new.mkdir()
        new_repository(self.repo, {"app.py": b"app\n", "data.evil": b"data\n"})
        write(self.repo, {".gitattributes": b"* filter=evil merge=evil\n*.evil diff=evil\n"})
        for hook in HOOKS:
            self._set(self.repo / ".git/hooks" / hook, f"hook-{hook}")
        paths = {name: str(self._set(self._traps / name, name)) for name in TRAPS}
        config = CONFIG.format(**paths, evilrepo=folder / "evil.git")
        with (self.repo / ".git/config").open("a") as file:
            file.write(config)
        write(self.repo, {"included": f"[core]\n\tfsmonitor = {paths['fsmonitor']}\n".encode(), "new.txt": b"new\n"})
        write(self.repo, {"app.py": b"edited\n", ".gitmodules": b'[submodule "lib"]\n\tpath = lib\n\turl = ./lib\n'})

    def sprung(self) -> set[str]:
        return {path.name for path in self._sprung.iterdir()}

    def _set(self, path: Path, name: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        rest = {"clean": "exec cat", "smudge": "exec cat", "textconv": 'exec cat "$1"'}.get(name, "")
        path.write_text(f"#!/bin/sh\ntouch {self._sprung}/{name}\n{rest}\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def armed(tmp_path: Path) -> Armed:
    return Armed(tmp_path)


def plain_git(repo: Path, *arguments: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **IDENTITY}
    subprocess.run(
        ["git", *arguments], cwd=repo, env=env, capture_output=True, timeout=20, check=False, stdin=subprocess.DEVNULL
    )


def test_the_traps_are_real(armed: Armed) -> None:
    for arguments in (
        ("status",),
        ("diff",),
        ("diff", "--no-ext-diff", "HEAD"),
        ("show", "HEAD:data.evil", "--textconv"),
        ("add", "-A"),
        ("-c", "commit.gpgSign=false", "commit", "-m", "x"),
        ("commit", "--allow-empty", "-m", "y"),
        ("-c", "commit.gpgSign=false", "commit", "--allow-empty"),
        ("checkout", "-f", "-b", "other"),
        ("archive", "--format=tgz", "HEAD"),
        ("update-ref", "refs/heads/x", "HEAD"),
        ("fetch", "origin"),
        ("fetch", "file:///nowhere"),
        ("log", "-p", "--no-ext-diff"),
    ):
        plain_git(armed.repo, *arguments)
    assert armed.sprung() >= {
        "fsmonitor", "external", "clean", "smudge", "gpg", "tar", "remoteuploadpack", "insteadof", "editor",
        "textconv", "hook-post-index-change", "hook-pre-commit", "hook-post-checkout", "hook-reference-transaction",
    }  # fmt: skip


async def test_nothing_runs_in_a_whole_run_over_a_repository_full_of_traps(armed: Armed, tmp_path: Path) -> None:
    before = everything(armed.repo, but_objects=True)
    workspace = await snapshot(armed.repo, tmp_path / "state")
    assert workspace.carried == (".gitattributes", ".gitmodules", "app.py", "included", "new.txt")
    commit = await agent_commit(workspace, {"app.py": b"by the agent\n", "data.evil": b"changed\n"})
    delivered = await workspace.deliver("r1", commit, "Change")
    assert delivered is not None
    assert everything(armed.repo, but_objects=True) == before
    assert await apply(armed.repo, tmp_path / "state", "r1") == ("app.py", "data.evil")
    assert (armed.repo / "app.py").read_bytes() == b"by the agent\n"
    assert armed.sprung() == set()
    # insteadOf leads the fetch astray: there is no branch, and the reason is told
    assert (delivered.branch, "transport 'ext' not allowed" in delivered.notes[0]) == (None, True)


async def test_a_branch_arrives_in_a_repository_full_of_all_other_traps(armed: Armed, tmp_path: Path) -> None:
    config = armed.repo / ".git/config"
    config.write_text(config.read_text().replace("insteadOf", "notInsteadOf"))
    before = everything(armed.repo, but_objects=True)
    workspace = await snapshot(armed.repo, tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"app.py": b"by the agent\n"}), "Change")
    assert delivered is not None
    assert (delivered.branch, delivered.notes) == ("dockwright/r1", ())
    after = everything(armed.repo, but_objects=True)
    added = {".git/refs/heads/dockwright", ".git/refs/heads/dockwright/r1"}
    assert (after.keys() - before.keys(), armed.sprung()) == (added, set())
    assert {name: facts for name, facts in after.items() if name not in added} == before


async def test_missing_objects_are_not_fetched_from_the_repositorys_own_remote(armed: Armed, tmp_path: Path) -> None:
    config = armed.repo / ".git/config"
    config.write_text(config.read_text() + "[extensions]\n\tpartialClone = origin\n")
    config.write_text(config.read_text().replace("repositoryformatversion = 0", "repositoryformatversion = 1"))
    blob = (git(armed.repo, "-c", "core.fsmonitor=false", "rev-parse", "HEAD:data.evil")).strip()
    (armed.repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(ConfigError, match="Reading the repository"):
        await snapshot(armed.repo, tmp_path / "state")
    assert armed.sprung() == set()
    plain_git(armed.repo, "cat-file", "-p", blob)
    assert "remoteuploadpack" in armed.sprung()


async def test_a_hook_that_the_configuration_defines_costs_the_branch_not_the_work(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    git(repo, "config", "hook.lint.event", "pre-commit")
    git(repo, "config", "hook.spy.event", "reference-transaction")
    git(repo, "config", "hook.spy.command", f"touch {tmp_path}/sprung")
    workspace = await snapshot(repo, tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add")
    assert delivered is not None
    assert delivered.branch is None
    assert delivered.notes == (
        f"the configuration of {repo} runs a program on each reference-transaction, so no branch was written",
    )
    git(repo, "config", "--unset", "hook.spy.event")
    again = await workspace.deliver("r2", await agent_commit(workspace, {"new": b"new\n"}), "Add")
    assert again is not None
    assert again.branch == "dockwright/r2"


def victim(folder: Path) -> Path:
    return new_repository(folder / "victim", {"secret.txt": b"secret\n"})


def git_file_elsewhere(folder: Path, repo: Path) -> None:
    (repo / ".git").rename(folder / "old.git")
    write(repo, {".git": f"gitdir: {victim(folder)}/.git\n".encode()})


def git_link_elsewhere(folder: Path, repo: Path) -> None:
    (repo / ".git").rename(folder / "old.git")
    (repo / ".git").symlink_to(victim(folder) / ".git")


def git_file_into_a_worktree_of_another(folder: Path, repo: Path) -> None:
    git(victim(folder), "worktree", "add", "-q", str(folder / "theirs"))
    (repo / ".git").rename(folder / "old.git")
    write(repo, {".git": f"gitdir: {folder}/victim/.git/worktrees/theirs\n".encode()})


def common_dir_elsewhere(folder: Path, repo: Path) -> None:
    write(repo, {".git/commondir": f"{victim(folder)}/.git\n".encode()})


def alternates_elsewhere(folder: Path, repo: Path) -> None:
    write(repo, {".git/objects/info/alternates": f"{victim(folder)}/.git/objects\n".encode()})


def alternates_of_alternates_elsewhere(folder: Path, repo: Path) -> None:
    write(repo, {".git/objects/info/alternates": b"../near\n", ".git/near/pack/x": b""})
    write(repo, {".git/near/info/alternates": f"{victim(folder)}/.git/objects\n".encode()})


def work_tree_elsewhere(folder: Path, repo: Path) -> None:
    git(repo, "config", "core.worktree", str(victim(folder)))


def objects_elsewhere(folder: Path, repo: Path) -> None:
    (repo / ".git/objects").rename(folder / "objects")
    (repo / ".git/objects").symlink_to(folder / "objects")


def branches_elsewhere(folder: Path, repo: Path) -> None:
    (folder / "startup").mkdir()
    (repo / ".git/refs/heads/dockwright").symlink_to(folder / "startup")


LEADS = [
    git_file_elsewhere, git_link_elsewhere, git_file_into_a_worktree_of_another, common_dir_elsewhere,
    alternates_elsewhere, alternates_of_alternates_elsewhere, work_tree_elsewhere, objects_elsewhere,
    branches_elsewhere,
]  # fmt: skip


@pytest.mark.parametrize("mislead", LEADS, ids=lambda mislead: mislead.__name__)
async def test_a_repository_that_leads_to_anothers_is_refused(
    tmp_path: Path, mislead: Callable[[Path, Path], None]
) -> None:
    repo = new_repository(tmp_path / "repo")
    mislead(tmp_path, repo)
    with pytest.raises(ConfigError, match=f"outside of {repo}, and nothing there points back"):
        await snapshot(repo, tmp_path / "state")
    assert not (tmp_path / "state").exists()


async def test_branches_that_lead_elsewhere_after_the_snapshot_are_not_written(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    workspace = await snapshot(repo, tmp_path / "state")
    branches_elsewhere(tmp_path, repo)
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add")
    assert delivered is not None
    assert (delivered.branch, list((tmp_path / "startup").iterdir())) == (None, [])


async def test_replacements_and_grafts_do_not_change_what_head_is(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    head = git(repo, "rev-parse", "HEAD")
    evil = git(repo, "commit-tree", "-m", "Evil", git(repo, "mktree", "--missing"))
    git(repo, "replace", head, evil)
    write(repo, {".git/info/grafts": f"{head} {evil}\n".encode()})
    workspace = await snapshot(repo, tmp_path / "state")
    assert set(tree(workspace.quarantine.folder, workspace.base)) == {"README.md", "src/app.py"}
    assert git(workspace.quarantine.folder, "log", "--format=%s", workspace.base) == "Start"


@pytest.mark.parametrize("name", [".git/hooks/pre-commit", "../escape", "a/.GIT/config", "git~1/x"])
async def test_forbidden_names_in_history_or_index_do_not_get_past_the_snapshot(tmp_path: Path, name: str) -> None:
    repo = new_repository(tmp_path / "repo")
    stream = b'commit refs/heads/main\ncommitter E <e@e> 0 +0000\ndata 1\nx\nM 100644 inline "%s"\ndata 1\nx\n'
    done = subprocess.run(
        ["git", "fast-import", "--quiet", "--force"], cwd=repo, input=stream % name.encode(), check=False
    )
    assert done.returncode == 0
    with pytest.raises(ConfigError, match="holds paths that must not be checked out"):
        await snapshot(repo, tmp_path / "state")
    assert not (tmp_path / "escape").exists()


async def test_an_index_with_a_path_out_of_the_repository_reads_nothing_there(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    write(tmp_path, {"xx/secret": b"host secret\n"})
    blob = git(repo, "hash-object", "-w", "README.md")
    git(repo, "update-index", "--add", "--cacheinfo", f"100644,{blob},AA/xx/secret")
    index = repo / ".git/index"
    data = index.read_bytes().replace(b"AA/xx/secret", b"../xx/secret")
    index.write_bytes(data[:-20] + hashlib.sha1(data[:-20]).digest())  # noqa: S324 - git's own checksum
    workspace = await snapshot(repo, tmp_path / "state")
    assert workspace.left_out == ("../xx/secret: leads elsewhere",)
    assert set(tree(workspace.quarantine.folder, workspace.base)) == {"README.md", "src/app.py"}


@pytest.mark.parametrize("name", ["HEAD", "config", "index", "packed-refs", "commondir", "info/exclude"])
async def test_a_fifo_in_the_git_folder_is_told_at_once(tmp_path: Path, name: str) -> None:
    repo = tmp_path / "repo"
    new_repository(repo)
    (repo / ".git" / name).unlink(missing_ok=True)
    os.mkfifo(repo / ".git" / name)
    with pytest.raises(ConfigError, match=f"{name} is no regular file"):
        await snapshot(repo, tmp_path / "state")


async def test_a_tree_that_unfolds_without_end_is_an_error_not_a_full_memory(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo", {"f": b"x"})
    entry = "100644 blob " + git(repo, "rev-parse", "HEAD:f")
    for _ in range(9):
        lines = "".join(f"{entry}\t{index:02}\n" for index in range(64))
        made = subprocess.run(["git", "mktree"], cwd=repo, input=lines.encode(), capture_output=True, check=True)
        entry = "040000 tree " + made.stdout.decode().strip()
    git(repo, "reset", "-q", "--soft", git(repo, "commit-tree", "-m", "Bomb", entry.split()[-1]))
    with pytest.raises(ConfigError, match="too large or hostile"):
        await snapshot(repo, tmp_path / "state")


async def test_what_a_run_keeps_is_its_owners_alone(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    workspace = await snapshot(repo, tmp_path / "state")
    await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert (modes["workspace.json"], modes["changes.patch"]) == (0o600, 0o600)


async def test_git_variables_of_the_caller_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = new_repository(tmp_path / "repo")
    other = victim(tmp_path)
    for name, value in {
        "GIT_DIR": f"{other}/.git",
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": f"{other}/.git/index",
        "GIT_OBJECT_DIRECTORY": f"{other}/.git/objects",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": f"touch {tmp_path}/sprung",
        "GIT_EXTERNAL_DIFF": f"touch {tmp_path}/sprung",
    }.items():
        monkeypatch.setenv(name, value)
    before = everything(other)
    workspace = await snapshot(repo, tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add")
    assert delivered is not None
    assert tree(repo, "dockwright/r1").keys() == {"README.md", "src/app.py", "new"}
    assert (delivered.branch, everything(other), (tmp_path / "sprung").exists()) == ("dockwright/r1", before, False)
