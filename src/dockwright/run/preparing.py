"""The image of a project: its own one after the setup that the user asked for, made once and kept.

It is known by what went into it: the image, the command, the files that say what a project depends on, as they are in
the commit the run starts from. The agent works in it without a network, if the user likes, and so do the checks.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory

from dockwright.config import SandboxSettings
from dockwright.errors import ConfigError
from dockwright.events import NetworkAsked, Noted
from dockwright.journal import Journal
from dockwright.run.bench import Bench, Host, choose_place, open_bench
from dockwright.sandbox import RUNTIME
from dockwright.sandbox.docker import WORKBENCH
from dockwright.services.setup import REPOSITORY, exists, image_id, make_image
from dockwright.workspace import Workspace

_SAYS = (
    "requirements*.txt", "constraints*.txt", "pyproject.toml", "setup.py", "setup.cfg", "*.lock", "Pipfile",
    "package.json", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc",
    "go.mod", "go.sum", "Gemfile", "Cargo.toml", "composer.json", "pom.xml", "*.gradle", "*.gradle.kts", "*.csproj",
)  # fmt: skip
_MOST_NAMES = 1 << 20


async def prepared(settings: SandboxSettings, host: Host, workspace: Workspace, journal: Journal) -> SandboxSettings:
    """The settings with the image that the setup makes, made now unless it is there. Raises ConfigError where the setup
    fails, or there is no engine to keep images."""
    if settings.setup is None:
        return settings
    if (await choose_place(settings, host, "setup")).backend != "docker":
        raise ConfigError("--setup needs a Docker engine, which keeps the image it makes. Start one, or go without.")
    base = settings.image or WORKBENCH
    name = f"{REPOSITORY}:{await _key(await image_id(host.shared.engine, base), settings.setup, workspace)}"
    if not await exists(host.shared.engine, name):
        journal.show(Noted(text=f"Setting up, once: {settings.setup}"))
        await _make(settings, host, workspace, journal, name)
        journal.show(Noted(text=f"The setup is kept as {name}; dockwright gc --images removes it."))
    return settings.model_copy(update={"image": name})


async def _key(image: str, command: str, workspace: Workspace) -> str:
    found = await workspace.quarantine.git("ls-tree", "-r", "--full-tree", workspace.base)
    entries = [line for line in found.decode("utf-8", "replace").splitlines() if _is_said(line.partition("\t")[2])]
    return hashlib.sha256("\n".join((image, command, *entries)).encode()).hexdigest()[:16]


def _is_said(path: str) -> bool:
    return any(Path(path).match(pattern) for pattern in _SAYS)


async def _make(settings: SandboxSettings, host: Host, workspace: Workspace, journal: Journal, name: str) -> None:
    def pass_on(event: object) -> None:
        if isinstance(event, NetworkAsked | Noted):
            journal.show(event)

    plain = settings.model_copy(update={"services": (), "setup": None})
    with (
        TemporaryDirectory(dir=journal.path.parent, prefix="setup-") as folder,
        Journal(Path(folder) / "journal.jsonl", (pass_on,)) as own,
    ):
        async with open_bench(plain, host, f"setup-{secrets.token_hex(4)}", "proof", own) as sandbox:
            await workspace.enter(sandbox)

            async def ignored() -> bytes:
                return await _ignored(sandbox, journal)

            await make_image(host.shared.engine, sandbox, str(settings.setup), name, ignored)


async def _ignored(sandbox: Bench, journal: Journal) -> bytes:
    """What the setup made in the workspace and git ignores, a line each; what git does not ignore is told as left."""
    git = [f"{sandbox.runtime}/bin/git", "-c", "core.quotePath=false", "ls-files", "--others", "--exclude-standard"]
    env = {"GIT_EXEC_PATH": f"{RUNTIME}/libexec/git-core", "GIT_CONFIG_NOSYSTEM": "1"}
    kept = await sandbox.exec([*git, "--ignored", "--directory"], env=env, limit=_MOST_NAMES)
    left = await sandbox.exec([*git, "--directory"], env=env, limit=_MOST_NAMES)
    if kept.exit_code or kept.hidden:
        raise ConfigError("What the setup made in the workspace cannot be named: git said nothing, or too much.")
    if names := left.stdout.decode("utf-8", "replace").split("\n")[:-1]:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        text = f"The setup made {', '.join(names[:5])}{more} in the workspace, which git does not ignore: not kept."
        journal.show(Noted(level="warning", text=text))
    return kept.stdout
