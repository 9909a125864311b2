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
_OURS = {"postgres": 5432, "redis": 6379}
_OF_DATABASES = re.compile(r"(POSTGRES|PG|DB|DATABASE|REDIS)[A-Z0-9_]*$")


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
    env, left = _environment({**said.pop("containerEnv", {}), **said.pop("remoteEnv", {})}, {})
    if env:
        settings["sandbox.env"] = env
        used.append(f"environment: {', '.join(env)}")
    ignored += (f"environment {name}, whose value is this machine's" for name in left)
    if ports := said.pop("forwardPorts", None):
        used.append(f"ports: dockwright open RUN {' | '.join(map(str, ports))}")
    if "dockerComposeFile" in said:
        files = said.pop("dockerComposeFile")
        first = path.parent / str(files if isinstance(files, str) else files[0])
        ignored.append(f"dockerComposeFile: for its services, --compose {first}")
    return Reading(settings, tuple(used), (*ignored, *said))


def read_compose(path: Path) -> Reading:
    """The databases and other services of a compose file, and what of the environment of the project itself, which is
    what it builds, speaks of them. Variables are those of `.env` beside it. Raises ConfigError."""
    import yaml

    try:
        said = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"--compose: {path} cannot be read: {error}") from error
    services = said.get("services") if isinstance(said, dict) else None
    if not isinstance(services, dict) or not all(isinstance(service, dict) for service in services.values()):
        raise ConfigError(f"--compose: {path} has no services.")
    given = _env_file(path.parent, ".env")
    settings: dict[str, object] = {}
    started: dict[str, _Started] = {}  # by their names in the file
    used: list[str] = []
    ignored = [key for key in said if key not in ("services", "version", "name")]
    built = {name: service for name, service in services.items() if "build" in service or "image" not in service}
    for name, service in services.items():
        if name in built:
            continue
        one = _Started.of(str(name), service, path.parent, given)
        key = f"sandbox.service.{one.called}"
        if key in settings or (one.called not in _OURS and one.port is None):
            ignored.append(f"{name}: {'a second ' + one.called if key in settings else 'it names no port'}")
            continue
        settings[key] = one.settings
        started[str(name)] = one
        used.append(one.line)
        ignored += one.ignored
    for name, service in built.items():
        env, left = _environment(_pairs(service.get("environment", {})), given)
        told = {variable: at for variable, value in env.items() if (at := _speaks_of(variable, value, started))}
        for variable, (of, value) in told.items():
            of.tell.setdefault(variable, value)
        if told:
            used.append(f"{name}: environment {', '.join(told)}")
        rest = [variable for variable in (*env, *left) if variable not in told]
        words = f"; environment {', '.join(rest)}: what it needs of that goes below [sandbox.env]" if rest else ""
        ignored.append(f"{name}: it is built; the agent works on it and starts it itself{words}")
    settings["sandbox.services"] = tuple(one.called for one in started.values())
    return Reading(settings, tuple(used), tuple(ignored))


@dataclass(frozen=True)
class _Started:
    """A service that is started here. `called` is its name here, `tell` what commands in the sandbox get."""

    name: str
    called: str
    port: int | None
    env: Mapping[str, str]
    tell: dict[str, str]
    settings: Mapping[str, object]
    line: str
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, name: str, service: Mapping[str, Any], folder: Path, given: Mapping[str, str]) -> _Started:
        image = str(service["image"])
        kind = image.rpartition("/")[2].partition(":")[0]
        ours = kind in _OURS
        called = kind if ours else re.sub("[^a-z0-9-]", "-", name.lower())
        pairs, known = _pairs(service.get("environment", {})), {"image", "environment", "ports", "expose"}
        if kind == "postgres" and (files := service.get("env_file")):
            known.add("env_file")
            for file in [files] if isinstance(files, str | dict) else files:
                pairs = {**_env_file(folder, str(file.get("path") if isinstance(file, dict) else file)), **pairs}
        line = f"{name}: {called}, at 127.0.0.1 and not at {name}; "
        if ours:
            line += f"it is Debian's, from dockwright/services: --services {kind}={image} takes that image"
        else:
            known |= {"command", "healthcheck"}
            line += f"the engine must have {image}; to leave it out, name the others with --services"
        env, left = _environment(pairs, given)
        port, tell = _port(service), dict[str, str]()
        about = {"env": env, "port": port, **({} if ours else _other(service))}
        ignored = [f"{name}: {key}" for key in service if key not in known]
        ignored += (f"{name}: environment {variable}, whose value is this machine's" for variable in left)
        kept = {key: value for key, value in about.items() if value}
        return cls(name, called, port, env, tell, {**kept, "tell": tell}, line, tuple(ignored))

    def has(self, value: str) -> bool:
        """Whether this is one of its own values, as its user, password or port."""
        return value in (*self.env.values(), str(self.port or _OURS[self.called]))


def _speaks_of(variable: str, value: str, started: Mapping[str, _Started]) -> tuple[_Started, str] | None:
    """The service that a variable of the project is about, and the value with the address that it has here."""
    for name, one in started.items():
        host = rf"(?:(?<=@)|(?<=//)|(?<=,)|^){re.escape(name)}(?=:\d|/|,|$)"
        is_address = value != name or re.search("HOST|SERVER|ADDR", variable.upper())
        if is_address and (here := re.sub(host, "127.0.0.1", value)) != value:
            return one, here
        if one.has(value):
            return one, value
    return None


def _env_file(folder: Path, name: str) -> dict[str, str]:
    """What a file of `NAME=value` lines below a folder says of databases: all else in it may be a secret."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        return {}
    lines = path.read_text("utf-8", "replace").splitlines()
    pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
    found = {name.strip(): value.strip() for name, _, value in pairs if _OF_DATABASES.match(name.strip())}
    return {name: re.sub(r"^(['\"])(.*)\1$", r"\2", value) for name, value in found.items()}


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


def _environment(said: Mapping[str, object], given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What can be taken as it stands, has a default, or stands for something given, and the names of the rest."""

    def known(variable: re.Match[str]) -> str | None:
        return given.get(variable[1] or variable[3]) or variable[2]

    env, left = {}, []
    for name, value in said.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if value is None or any(known(variable) is None for variable in _VARIABLE.finditer(text)):
            left.append(name)
        else:
            env[name] = _VARIABLE.sub(lambda variable: known(variable) or "", text).replace("$$", "$")
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
