"""What this machine has, what it lacks and what to do about it, a line each. Loads nothing that takes long."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dockwright.config import ANTHROPIC_URL, Config
from dockwright.errors import ExitCode, SandboxError
from dockwright.sandbox.docker import RUNTIME_IMAGE, WORKBENCH
from dockwright.sandbox.engine import LABEL, connect
from dockwright.services.kinds import IMAGE as SERVICES_IMAGE
from dockwright.services.setup import SETUP_LABEL

Grade = Literal["ok", "warn", "fail"]
Line = tuple[Grade, str, str]
_STYLES: dict[Grade, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_FREE = 5 << 30
_SECONDS = 5


def examine(console: Console, config: Config, root: Path, state: Path, env: Mapping[str, str]) -> ExitCode:
    """Print a line for each thing looked at. Exit code 0 where a run could start, 8 without any sandbox, else 2."""
    engine, bench = list(_engine()), list(_bubblewrap(root))
    lines = [*engine, *bench, *_host(state), *_model(config, env)]
    table = Table.grid(padding=(0, 2))
    for grade, what, text in lines:
        table.add_row(Text(grade, _STYLES[grade]), Text(what), Text(text))
    console.print(table)
    if not _usable(engine) and not _usable(bench):
        return ExitCode.SANDBOX
    return ExitCode.CONFIG if any(grade == "fail" for grade, _, _ in lines) else ExitCode.OK


def _usable(lines: list[Line]) -> bool:
    return all(grade == "ok" for grade, _, _ in lines)


def _engine() -> Iterator[Line]:
    try:
        client = connect(_SECONDS)
    except SandboxError as error:
        yield "warn", "docker", str(error)
        return
    try:
        version, info = client.version(), client.info()
        where = os.fspath(client.api.base_url).replace("http+docker://", "").replace("localhost", "the local socket")
        facts = (
            f"{version['Version']}, API {version['ApiVersion']} (1.41 or later is needed), {where}",
            f"{info['Driver']}, cgroup v{info.get('CgroupVersion', '?')}, {info['NCPU']} CPUs",
            f"{info['MemTotal'] / (1 << 30):.0f} GiB, runtimes {', '.join(sorted(info['Runtimes']))}",
        )
        yield "ok" if _api(version["ApiVersion"]) >= (1, 41) else "warn", "docker", "; ".join(facts)
        have = {tag for image in client.images.list() for tag in image.tags}
        for name in (WORKBENCH, RUNTIME_IMAGE, SERVICES_IMAGE):
            there = name in have
            yield (
                "ok" if there else "warn",
                "image",
                name if there else f"{name} is missing. Build it: dockwright image",
            )
        if made := client.images.list(filters={"label": SETUP_LABEL}):
            yield "ok", "setups", f"{len(made)} images kept by --setup (dockwright gc --images removes them)"
        left = client.containers.list(all=True, filters={"label": LABEL})
        if left:
            names = ", ".join(container.name or container.id or "?" for container in left)
            yield (
                "ok",
                "containers",
                f"of runs that go on, or that were killed: {names} (dockwright gc removes the latter)",
            )
    finally:
        client.close()


def _api(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _bubblewrap(root: Path) -> Iterator[Line]:
    program = shutil.which("bwrap")
    if program is None:
        yield "warn", "bubblewrap", "not there. It is the sandbox where no engine is: apt-get install bubblewrap"
        return
    own = "this machine's own /usr" if root == Path("/") else str(root)
    if root == Path("/"):
        missing = [name for name in ("python3", "git", "rg") if not Path("/usr/bin", name).exists()]
        if missing:
            yield (
                "warn",
                "bubblewrap",
                f"needs {', '.join(missing)} under /usr/bin: apt-get install python3 git ripgrep",
            )
            return
    yield "ok", "bubblewrap", f"{program}, over {own}"


def _host(state: Path) -> Iterator[Line]:
    git = shutil.which("git")
    yield ("ok", "git", git) if git else ("fail", "git", "not there. Install it: apt-get install git")
    free = shutil.disk_usage(state).free
    grade: Grade = "ok" if free > _FREE else "warn"
    yield grade, "runs", f"{state}, {free / (1 << 30):.0f} GiB free"
    if not os.access(state, os.W_OK):
        yield "fail", "runs", f"{state} cannot be written. Give it to yourself: chown -R $USER {state}"


def _model(config: Config, env: Mapping[str, str]) -> Iterator[Line]:
    model = config.model
    keys = (model.api_key, model.auth_token)
    if model.provider == "anthropic" and not any(keys):
        yield "fail", "model key", f"none. Set {model.api_key_env} (or ANTHROPIC_AUTH_TOKEN)."
    else:
        yield "ok", "model key", "from the environment" if any(keys) else f"{model.provider}'s own credentials"
    url = model.base_url or ANTHROPIC_URL
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if model.proxy:
        yield "ok", "model API", f"{model.model_id()} at {url}, through a proxy: not tried"
        return
    try:
        socket.create_connection((parts.hostname or "", port), _SECONDS).close()
        yield "ok", "model API", f"{model.model_id()} at {url}"
    except OSError as error:
        yield "fail", "model API", f"{url} does not answer ({error}). Check the network, or ANTHROPIC_BASE_URL."
