"""Where a Docker engine is, found as the docker command line does: DOCKER_HOST, the context, the usual sockets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from dockwright.errors import ConfigError

NOT_OVER_TLS = (
    "is reached over TLS or ssh, which cannot carry the runner's stream yet. Forward its socket "
    "(ssh -L /tmp/engine.sock:/var/run/docker.sock HOST) and name unix:///tmp/engine.sock in its place."
)
_USUAL = "/var/run/docker.sock"


class Address(NamedTuple):
    """`how` says by what it was found. `named` is whether the user asked for this one."""

    url: str
    how: str
    named: bool = True


def find_engine(env: Mapping[str, str]) -> Address:
    if said := env.get("DOCKER_HOST"):
        return Address(said, "DOCKER_HOST")
    folder = _folder(env)
    name = env.get("DOCKER_CONTEXT") or _read(folder / "config.json").get("currentContext")
    if isinstance(name, str) and name not in ("", "default"):
        host = _host_of(name, folder)
        how = f"the context {name}" if host else f"the context {name}, which is not there"
        return Address(host or f"unix://{_USUAL}", how)
    runtime = env.get("XDG_RUNTIME_DIR", "")
    sockets = [(_USUAL, "the usual socket"), (f"{runtime}/docker.sock", "the rootless engine's socket")]
    sockets += [(f"{runtime}/podman/podman.sock", "Podman's socket")]
    there = [Address(f"unix://{path}", how, named=False) for path, how in sockets if os.path.exists(path)]
    return there[0] if there else Address(f"unix://{_USUAL}", "nothing named one", named=False)


def named_engines(names: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """The address of each, by its name: a docker context, or the address itself. Raises ConfigError."""
    found = {name: _named(name, env) for name in names}
    if len(set(found.values())) < len(names):
        raise ConfigError(f"One engine is named twice: {', '.join(f'{name} ({found[name]})' for name in names)}.")
    return found


def engine_environment(address: str | None = None) -> dict[str, str]:
    """What the SDK takes for its environment: this process's own with the engine's address in it, or just the one."""
    return {"DOCKER_HOST": address} if address else {**os.environ, "DOCKER_HOST": find_engine(os.environ).url}


def _named(name: str, env: Mapping[str, str]) -> str:
    if name == "default":
        url: str | None = find_engine({**env, "DOCKER_CONTEXT": name}).url
    else:
        url = name if "://" in name else _host_of(name, _folder(env))
    if url is None:
        raise ConfigError(
            f"There is no docker context {name!r}. `docker context ls` lists them; an address will do, too: "
            "tcp://HOST:PORT, unix:///PATH."
        )
    if urlsplit(url).scheme not in ("unix", "tcp", "http"):
        raise ConfigError(f"The engine {name} ({url}) {NOT_OVER_TLS}")
    return url


def _folder(env: Mapping[str, str]) -> Path:
    return Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME", "/"), ".docker"))


def _host_of(context: str, folder: Path) -> str | None:
    meta = _read(folder / "contexts/meta" / sha256(context.encode()).hexdigest() / "meta.json")
    host = meta.get("Endpoints", {}).get("docker", {}).get("Host")
    return str(host) if host else None


def _read(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
