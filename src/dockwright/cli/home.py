"""Where things are on this machine, and what the user configured. The environment is read here and in `cli` only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dockwright.cli.secrets import forget_keys, take_secrets
from dockwright.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from dockwright.agent import Agent
    from dockwright.config import Config
    from dockwright.proof import Demands
    from dockwright.result import RunResult
    from dockwright.run.bench import Host


def load_config(
    *, image: str | None = None, backend: str | None = None, net: list[str] | None = None,
    services: list[str] | None = None, setup: str | None = None, files: Mapping[str, object] | None = None,
    turns: int | None = None, budget: float | None = None, minutes: float | None = None,
    include: list[str] | None = None, secret: list[str] | None = None,
) -> Config:  # fmt: skip
    from dockwright.config import Config, ModelSettings

    network: object = None if not net else net[0] if net in (["none"], ["public"]) else tuple(net)
    named = tuple(name.strip() for part in services or () for name in part.split(",") if name.strip())
    flags: Mapping[str, object] = {
        "sandbox.image": image, "sandbox.backend": backend, "sandbox.network": network,
        "sandbox.services": named or None, "sandbox.setup": setup,
        "limits.turns": turns, "limits.money_usd": budget, "limits.seconds": minutes * 60 if minutes else None,
        "include": tuple(include) if include else None, "secrets": tuple(secret) if secret else None,
    }  # fmt: skip
    given = {name: value for name, value in flags.items() if value is not None}
    config = Config.load(config_folder() / "config.toml", {**(files or {}), **given})
    model = ModelSettings.from_environment(os.environ, config.model)
    forget_keys(model, os.environ)
    return config.model_copy(update={"model": model})


def again(
    config: Config, *, turns: int | None = None, budget: float | None = None, minutes: float | None = None
) -> Config:
    """The configuration of a run that is taken up: what it had, with the limits given and, from this machine as it is
    now, what is secret."""
    now = load_config(turns=turns, budget=budget, minutes=minutes)
    given = {"turns": turns, "money_usd": budget, "seconds": minutes * 60 if minutes else None}
    limits = config.limits.model_copy(update={name: value for name, value in given.items() if value is not None})
    secret = {name: getattr(now.model, name) for name in ("api_key", "auth_token", "headers", "proxy")}
    model = type(now.model).from_environment(os.environ, config.model.model_copy(update=secret))
    return config.model_copy(update={"limits": limits, "model": model})


def project_files(repo: Path, *, devcontainer: bool, compose: Path | None) -> Mapping[str, object]:
    """What the files of the project that the user asks for set; what of them was used and what was not is told."""
    import typer

    from dockwright.project_files import read_compose, read_devcontainer

    settings: dict[str, object] = {}
    readings = [read_devcontainer(repo.expanduser().absolute())] if devcontainer else []
    readings += [read_compose(compose)] if compose else []
    for reading in readings:
        settings |= reading.settings
        for word, parts in (("used", reading.used), ("ignored", reading.ignored)):
            for part in parts:
                typer.echo(f"{word:9} {part}", err=True)
    return settings


def demands(
    serve: str | None, probe: list[str] | None, migrations: str | None, seed: str | None,
    may_change: list[str] | None, *, baseline: bool,
) -> Demands:  # fmt: skip
    """What the flags ask to be proven beside the checks."""
    from dockwright.proof import Demands, Probe

    return Demands(
        serve=serve, probes=tuple(map(Probe.parse, probe or ())), migrations=migrations, seed=seed,
        may_change=tuple(may_change or ()), baseline=baseline,
    )  # fmt: skip


def find_agent(name: str) -> Agent:
    from dockwright.agent import find

    return find(name, agent_folders())


def host(config: Config) -> Host:
    from dockwright.run.bench import Host
    from dockwright.sandbox.dial import Proxies

    said = os.environ.get("SSL_CERT_FILE")
    bundle = Path(said) if said else Path("/etc/ssl/certs/ca-certificates.crt")
    redaction = take_secrets(config, os.environ)
    return Host(
        root=root_file_system(), ca_file=bundle if bundle.exists() else None,
        proxies=Proxies.from_environment(os.environ), redaction=redaction,
        author=_author(),
    )  # fmt: skip


def _author() -> tuple[str, str] | None:
    """Who the user is to git, as far as their own configuration says; that of no repository is read."""
    said = []
    for key in ("user.name", "user.email"):
        command = ["git", "config", "--global", "--get", key]
        try:
            done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        said.append("".join(char for char in done.stdout.strip() if char.isprintable() and char not in "<>"))
    name, mail = said
    return (name, mail) if name and mail else None


def console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if console.is_dumb_terminal:  # which rich takes for 80 columns wide, however wide it is
        columns, lines = os.get_terminal_size(1)
        return Console(highlight=False, markup=False, width=columns, height=lines)
    return console


def config_folder() -> Path:
    import platformdirs

    return platformdirs.user_config_path("dockwright")


def state_folder() -> Path:
    import platformdirs

    folder = platformdirs.user_state_path("dockwright")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def runs_folder() -> Path:
    folder = state_folder() / "runs"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def find_run(name: str) -> Path:
    """The folder of a run by its id, the beginning of it, or the path of the folder itself."""
    if (Path(name) / "journal.jsonl").exists():
        return Path(name).absolute()
    found = [folder for folder in run_folders() if folder.name.startswith(name)] if name else []
    match found:
        case [folder]:
            return folder
        case []:
            raise ConfigError(f"There is no run {name}. `dockwright runs` lists them.")
        case _:
            raise ConfigError(f"Several runs begin with {name}: {', '.join(folder.name for folder in found)}.")


def run_folders() -> list[Path]:
    return [path.parent for path in runs_folder().glob("*/journal.jsonl")]


def result_of(folder: Path) -> RunResult:
    from dockwright.journal import read
    from dockwright.result import RunResult

    result = RunResult.from_events(read(folder / "journal.jsonl"))
    return result if result.run else result.model_copy(update={"run": folder.name})  # it ended before it began


def agent_folders() -> tuple[Path, ...]:
    from dockwright.agent import folders

    return folders(config_folder())


def data_folder(name: str) -> Path:
    packed = Path(__file__).parents[1] / "data" / name
    return packed if packed.exists() else Path(__file__).parents[3] / name


def root_file_system() -> Path:
    """The root file system that bubblewrap uses: one that was built, else this machine's own."""
    import platformdirs

    for folder in (Path("/var/cache/dockwright/rootfs"), platformdirs.user_cache_path("dockwright") / "rootfs"):
        if folder.is_dir():
            return folder
    return Path("/")
