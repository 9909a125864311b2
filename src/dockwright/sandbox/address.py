"""Where the Docker engine is, found as the docker command line does: DOCKER_HOST, the context, the usual sockets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

_USUAL = "/var/run/docker.sock"


class Address(NamedTuple):
    """`how` says by what it was found. `named` is whether the user asked for this one."""

    url: str
    how: str
    named: bool = True


def find_engine(env: Mapping[str, str]) -> Address:
    if said := env.get("DOCKER_HOST"):
        return Address(said, "DOCKER_HOST")
    folder = Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME", "/"), ".docker"))
    name = env.get("DOCKER_CONTEXT") or _read(folder / "config.json").get("currentContext")
    if isinstance(name, str) and name not in ("", "default"):
        meta = _read(folder / "contexts/meta" / sha256(name.encode()).hexdigest() / "meta.json")
        host = meta.get("Endpoints", {}).get("docker", {}).get("Host")
        how = f"the context {name}" if host else f"the context {name}, which is not there"
        return Address(str(host or f"unix://{_USUAL}"), how)
    runtime = env.get("XDG_RUNTIME_DIR", "")
    sockets = [(_USUAL, "the usual socket"), (f"{runtime}/docker.sock", "the rootless engine's socket")]
    sockets += [(f"{runtime}/podman/podman.sock", "Podman's socket")]
    there = [Address(f"unix://{path}", how, named=False) for path, how in sockets if os.path.exists(path)]
    return there[0] if there else Address(f"unix://{_USUAL}", "nothing named one", named=False)


def engine_environment() -> dict[str, str]:
    """This process's environment with the engine's address in it, as the SDK takes it."""
    return {**os.environ, "DOCKER_HOST": find_engine(os.environ).url}


def _read(path: Path) -> dict[str, dict[str, dict[str, str]]]:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
