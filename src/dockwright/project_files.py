"""devcontainer.json and compose files, read where the user asks for it: what of them can be used, and what cannot.

They come with the repository, so nothing of them counts unasked. What cannot be used is named, never passed over.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dockwright.errors import ConfigError

_PLACES = (".devcontainer/devcontainer.json", ".devcontainer.json")
_COMMANDS = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
_JSON_NOISE = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?[^}]*\}|(\w+))")
_OURS = ("postgres", "redis")


@dataclass(frozen=True)
class Reading:
    """`settings` are named as the keys of the configuration; `used` and `ignored` say what became of each part."""

    settings: Mapping[str, object]
    used: tuple[str, ...]
    ignored: tuple[str, ...]


def read_devcontainer(repo: Path) -> Reading:
    """Raises ConfigError where there is none, or one that has to be built."""
    path = next((repo / place for place in _PLACES if (repo / place).is_file()), None)
    if path is None:
        raise ConfigError(f"--devcontainer: there is neither {' nor '.join(_PLACES)} in {repo}.")
    said = _json(path)
    build = said.get("build") or said.get("dockerFile")
    if build and "image" not in said:
        file = build if isinstance(build, str) else build.get("dockerfile", "Dockerfile")
        raise ConfigError(
            f"{path} has an image built, which dockwright does not do. Build it, and name it: "
            f"docker build -t my-image -f {path.parent / str(file)} {path.parent} && dockwright run --image my-image …"
        )
    settings: dict[str, object] = {}
    used: list[str] = []
    ignored: list[str] = []
    if image := said.pop("image", None):
        settings["sandbox.image"] = str(image)
        used.append(f"image {image}")
    commands = [_shell(said.pop(key)) for key in _COMMANDS if said.get(key)]
    if commands:
        settings["sandbox.setup"] = " && ".join(commands)
        used.append(f"setup: {settings['sandbox.setup']}")
    env, left = _environment({**said.pop("containerEnv", {}), **said.pop("remoteEnv", {})})
    if env:
        settings["sandbox.env"] = env
        used.append(f"environment: {', '.join(env)}")
    ignored += (f"environment {name}, whose value is this machine's" for name in left)
    if ports := said.pop("forwardPorts", None):
        used.append(f"ports: dockwright open RUN {' | '.join(map(str, ports))}")
    if "dockerComposeFile" in said:
        ignored.append(f"dockerComposeFile {said.pop('dockerComposeFile')}: name it with --compose")
    return Reading(settings, tuple(used), (*ignored, *said))


def read_compose(path: Path) -> Reading:
    """The databases and other services of a compose file; what is built is the project itself. Raises ConfigError."""
    import yaml

    try:
        said = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"--compose: {path} cannot be read: {error}") from error
    if not isinstance(said, dict) or not isinstance(said.get("services"), dict):
        raise ConfigError(f"--compose: {path} has no services.")
    settings: dict[str, object] = {}
    names: list[str] = []
    used: list[str] = []
    ignored = [key for key in said if key not in ("services", "version", "name")]
    for name, service in said["services"].items():
        kind = str(service.get("image", "")).rpartition("/")[2].partition(":")[0]
        called = kind if kind in _OURS else re.sub("[^a-z0-9-]", "-", str(name).lower())
        if "image" not in service:
            ignored.append(f"{name}: it is built; the agent works on it and starts it itself")
            continue
        port = _port(service)
        if called in names or (kind not in _OURS and port is None):
            ignored.append(f"{name}: {'a second ' + kind if called in names else 'it names no port'}")
            continue
        env, left = _environment(_pairs(service.get("environment", {})))
        about = {"env": env, "port": port, **({} if kind in _OURS else _other(service))}
        settings[f"sandbox.service.{called}"] = {key: value for key, value in about.items() if value}
        names.append(called)
        line, known = f"{name}: {called}, at 127.0.0.1 and not at {name}", {"image", "environment", "ports", "expose"}
        if kind in _OURS:
            line += f"; it is ours, --services {kind}={service['image']} takes that image"
        else:
            known |= {"command", "healthcheck"}
        used.append(line)
        ignored += (f"{name}: {key}" for key in service if key not in known)
        ignored += (f"{name}: environment {variable}, whose value is this machine's" for variable in left)
    settings["sandbox.services"] = tuple(names)
    return Reading(settings, tuple(used), tuple(ignored))


def _json(path: Path) -> dict[str, Any]:
    """JSON with comments and commas after the last, as editors write it."""
    try:
        text = _JSON_NOISE.sub(lambda found: found[1] or "", path.read_text("utf-8"))
        text = _JSON_NOISE.sub(lambda found: found[1] or "", text)  # a comma that stood before a comment
        said = json.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--devcontainer: {path} cannot be read: {error}") from error
    if not isinstance(said, dict):
        raise ConfigError(f"--devcontainer: {path} is not an object.")
    return said


def _shell(command: object) -> str:
    match command:
        case str():
            return command
        case dict():
            return " && ".join(_shell(part) for part in command.values())
        case list():
            return shlex.join(str(word) for word in command)
        case _:
            raise ConfigError(f"--devcontainer: {command!r} is no command.")


def _environment(said: Mapping[str, object]) -> tuple[dict[str, str], list[str]]:
    """What can be taken as it stands, or has a default, and the names of the rest."""
    env, left = {}, []
    for name, value in said.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if value is None or any(found[1] is None or found[2] is None for found in _VARIABLE.finditer(text)):
            left.append(name)
        else:
            env[name] = _VARIABLE.sub(lambda found: found[2], text).replace("$$", "$")
    return env, left


def _pairs(said: object) -> dict[str, object]:
    if isinstance(said, dict):
        return said
    lines = [str(line) for line in said] if isinstance(said, list) else []
    return {name: value if equals else None for name, equals, value in (line.partition("=") for line in lines)}


def _port(service: Mapping[str, Any]) -> int | None:
    """The first port inside, of `ports` or `expose`."""
    for said in (*service.get("ports", ()), *service.get("expose", ())):
        text = str(said.get("target")) if isinstance(said, dict) else str(said).rpartition(":")[2]
        if (number := text.partition("/")[0]).isdigit():
            return int(number)
    return None


def _other(service: Mapping[str, Any]) -> dict[str, object]:
    command = service.get("command") or ()
    test: object = (service.get("healthcheck") or {}).get("test")
    if isinstance(test, Sequence) and not isinstance(test, str):
        words = [str(word) for word in test]
        test = words[1] if words[:1] == ["CMD-SHELL"] else shlex.join(words[1:]) if words[:1] == ["CMD"] else None
    words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    return {"image": str(service["image"]), "command": words, "health": test}
