"""What the user may set: one TOML file, flags on top. Data only.

Keys and environment variables come in as arguments; nothing here reads the environment. A key that is not known is an
error, because a limit with a typing mistake in it would be no limit. A model key is never read from a file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic_core import ErrorDetails

from dockwright.errors import ConfigError

ANTHROPIC_URL = "https://api.anthropic.com"
ALIASES: Mapping[str, str] = {  # as of 2026-11; ANTHROPIC_DEFAULT_<NAME>_MODEL overrides one
    "sonnet": "claude-sonnet-5-5",
    "opus": "claude-opus-5-5",
    "haiku": "claude-haiku-5-5",
    "fable": "claude-fable-5-1",
}
Effort = Literal["low", "medium", "high", "xhigh", "max"]
_Model = TypeVar("_Model", bound=BaseModel)
TRAILER = re.compile(r"[A-Za-z0-9-]+: \S.*")  # a line at the end of a commit message, as git reads it
_SIZE = re.compile(r"(\d+)\s*([kmg]?)(?:i?b)?", re.IGNORECASE)


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_size(said: str) -> int:
    """Bytes. Raises ConfigError."""
    try:
        return cast(int, _size(said))
    except ValueError as error:
        raise ConfigError(f"{said!r} is no size: {error}.") from error


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError('write a size as "512m" or "4g"')
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


class ModelSettings(_Settings):
    """Which model answers, and how to reach it.

    `name` is an alias (sonnet, opus, haiku, fable) or an id, sent as it is. `base_url` is without `/v1`; None is the
    provider's own. `thinking` None means: adaptive on Anthropic's own models, otherwise off. `stall_seconds` is how
    long the stream may be silent. `context_window` is in tokens; None is what is known of the model. `api_key_env`
    names the variable that holds the key.
    """

    name: str = Field("sonnet", min_length=1)
    provider: Literal["anthropic", "bedrock", "vertex"] = "anthropic"
    base_url: str | None = Field(None, pattern=r"^https?://")
    api_key_env: str = "ANTHROPIC_API_KEY"
    api_key: SecretStr | None = None
    auth_token: SecretStr | None = None
    region: str | None = None
    project: str | None = None
    headers: Mapping[str, str] = Field({}, repr=False)
    aliases: Mapping[str, str] = {}
    max_tokens: PositiveInt = 32_000
    effort: Effort | None = None
    thinking: bool | None = None
    context_window: PositiveInt | None = None
    caching: bool = True
    attempts: PositiveInt = 10
    backoff_seconds: NonNegativeFloat = 0.5
    stall_seconds: PositiveFloat = 300.0
    proxy: str | None = Field(None, repr=False)
    ca_file: Path | None = None

    @classmethod
    def from_environment(cls, env: Mapping[str, str], base: ModelSettings | None = None) -> ModelSettings:
        """`base` (what the file says) with what the environment says on top, in the words of Claude Code."""
        base = base or cls()
        found: dict[str, object] = {
            "provider": _provider(env),
            "name": env.get("ANTHROPIC_MODEL"),
            "base_url": env.get("ANTHROPIC_BASE_URL"),
            "api_key": env.get(base.api_key_env),
            "auth_token": env.get("ANTHROPIC_AUTH_TOKEN"),
            "ca_file": env.get("SSL_CERT_FILE"),
        }
        match found["provider"] or base.provider:
            case "bedrock":
                found["region"] = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
                found["base_url"] = env.get("ANTHROPIC_BEDROCK_BASE_URL")
                found["api_key"] = env.get("AWS_BEARER_TOKEN_BEDROCK")
            case "vertex":
                found["region"] = env.get("CLOUD_ML_REGION")
                found["project"] = env.get("ANTHROPIC_VERTEX_PROJECT_ID")
                found["base_url"] = env.get("ANTHROPIC_VERTEX_BASE_URL")
        aliases = {name: env.get(f"ANTHROPIC_DEFAULT_{name.upper()}_MODEL") for name in ALIASES}
        values = base.model_dump() | {key: value for key, value in found.items() if value}
        values["headers"] = {**base.headers, **_headers(env.get("ANTHROPIC_CUSTOM_HEADERS", ""))}
        values["aliases"] = {**base.aliases, **{name: model for name, model in aliases.items() if model}}
        values["proxy"] = base.proxy or proxy_for(env, values["base_url"] or ANTHROPIC_URL)
        return _validated(cls, values, "the environment")

    def model_id(self, wanted: str | None = None) -> str:
        """The id of the wanted model: an alias, an id, or "inherit" (and nothing), which is the configured one."""
        name = self.name if wanted in (None, "", "inherit") else str(wanted)
        if name in self.aliases or name not in ALIASES:
            return self.aliases.get(name, name)
        if self.provider != "anthropic":
            raise ConfigError(
                f'The alias "{name}" has no known model id on {self.provider}. Pass the id with --model, '
                f"or set ANTHROPIC_DEFAULT_{name.upper()}_MODEL to it."
            )
        return ALIASES[name]

    @property
    def is_anthropic(self) -> bool:
        """Whether the other end is known to be Anthropic's own models behind their own API."""
        return self.provider != "anthropic" or (self.base_url or ANTHROPIC_URL).rstrip("/") == ANTHROPIC_URL


class Limits(_Settings):
    """When to stop, None for never: model answers, US dollars, seconds of wall clock."""

    turns: PositiveInt | None = None
    money_usd: PositiveFloat | None = None
    seconds: PositiveFloat | None = None


class ServiceSettings(_Settings):
    """What is to be known of a service: of postgres and redis nothing, of others `image` and `port`.

    `env` is its environment, `command` the arguments of its program (those of postgres and redis come after ours),
    `health` a shell command in its container that exits with 0 when it is ready (else: its port answers), `data` the
    folder it writes to, `user` who it runs as, never root. `tell` is set for every command in the sandbox."""

    image: str | None = None
    port: Annotated[PositiveInt, Field(le=65535)] | None = None
    env: Mapping[str, str] = {}
    command: tuple[str, ...] = ()
    health: str | None = None
    data: str | None = Field(None, pattern="^/.")
    user: str | None = None
    tell: Mapping[str, str] = {}
    memory: Annotated[PositiveInt, BeforeValidator(_size)] = 1 << 30


class SandboxSettings(_Settings):
    """`image` None is the workbench image. `memory` is in bytes ("4g" in the file), swap included. `disk` is in bytes
    and `inodes` in files and folders: what the workspace may hold. `network` is "none", "public" (any public host), or
    the hosts that are allowed, as HOST or HOST:PORT. `oci_runtime` asks the engine for another runtime than its
    default, as runsc. `services` run beside each sandbox, as NAME or NAME=IMAGE; `service` has what is to be known of
    one, by its name. `setup` is a shell command that is run as root, once, before the agent begins; the image it makes
    is kept. `env` is set for every command."""

    image: str | None = None
    backend: Literal["auto", "docker", "bubblewrap"] = "auto"
    memory: Annotated[PositiveInt, BeforeValidator(_size)] = 4 << 30
    cpus: PositiveFloat = 2.0
    pids: PositiveInt = 512
    disk: Annotated[PositiveInt, BeforeValidator(_size)] = 10 << 30
    inodes: PositiveInt = 1_000_000
    network: Literal["none", "public"] | tuple[str, ...] = "public"
    oci_runtime: str | None = None
    services: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}(=\S+)?$")], ...] = ()
    service: Mapping[str, ServiceSettings] = {}
    setup: str | None = Field(None, min_length=1)
    env: Mapping[str, str] = {}


def _trailers(value: object) -> object:
    lines = value.strip().splitlines() if isinstance(value, str) else [] if value is False else [""]
    if not all(TRAILER.fullmatch(line) for line in lines):
        raise ValueError('write lines as "Name: text", or false for none')
    return "\n".join(lines)


class DeliverySettings(_Settings):
    """`commits` is "one" for the whole change as one commit, or "agent" for those that the agent made with git.
    `trailers` are lines at the end of each message; {model} and {run} in them stand for the run's. False is none."""

    commits: Literal["one", "agent"] = "one"
    trailers: Annotated[str, BeforeValidator(_trailers)] = "Assisted-by: dockwright:{model}"


class Config(_Settings):
    """`search` is where WebSearch looks: ddgs, the model API's own search, nowhere, or the first of them that works.
    `include` are patterns of ignored files that are taken into the sandbox all the same, and never come out of it.
    `secrets` name what must never be written or shown: variables of the environment as NAME, files as NAME=PATH."""

    model: ModelSettings = ModelSettings()
    limits: Limits = Limits()
    sandbox: SandboxSettings = SandboxSettings()
    deliver: DeliverySettings = DeliverySettings()
    search: Literal["auto", "ddgs", "api", "none"] = "auto"
    include: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path | None = None, flags: Mapping[str, object] | None = None) -> Config:
        """The file, where there is one, with the flags on top. Flags are named as the keys: {"limits.turns": 20};
        those that are None were not given. Raises ConfigError naming the file and each bad key."""
        values = _read(path) if path is not None and path.exists() else {}
        config = _validated(cls, values, str(path))
        for key in ("api_key", "auth_token"):
            if getattr(config.model, key) is not None:
                raise ConfigError(
                    f"{path}: model.{key} stands in a file, where keys do not belong. Delete it and put the key into "
                    f"the environment variable {config.model.api_key_env}."
                )
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        for name, value in given.items():
            *sections, key = name.split(".")
            at: dict[str, Any] = values
            for section in sections:
                at = at.setdefault(section, {})
            at[key] = value
        return _validated(cls, values, "the flags") if given else config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error


def _validated(model: type[_Model], values: Mapping[str, object], source: str) -> _Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(model, problem)}" for problem in error.errors(include_url=False))
        raise ConfigError(f"The settings of {source} cannot be used:\n{problems}") from None


def _problem(model: type[BaseModel], problem: ErrorDetails) -> str:
    *sections, key = [str(part) for part in problem["loc"]]
    name = ".".join([*sections, key])
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']}"
    for section in sections:
        known_section = model.model_fields.get(section)
        model = type(known_section.default) if known_section and section != "service" else ServiceSettings
    known = list(model.model_fields)
    near = get_close_matches(key, known, n=1)
    return f"{name}: there is no such key. " + (f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}")


def _provider(env: Mapping[str, str]) -> str | None:
    for provider in ("bedrock", "vertex"):
        if env.get(f"CLAUDE_CODE_USE_{provider.upper()}", "").lower() in ("1", "true", "yes", "on"):
            return provider
    return None


def _headers(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


def proxy_for(env: Mapping[str, str], url: str) -> str | None:
    """The proxy for a URL as the environment has it; none for this machine itself and what NO_PROXY names."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1"):
        return None
    said = {name.lower(): value for name, value in sorted(env.items()) if name.lower().endswith("_proxy") and value}
    direct = [name.strip().lstrip("*.") or "*" for name in said.get("no_proxy", "").split(",") if name.strip()]
    if any(name == "*" or host == name or host.endswith(f".{name}") for name in direct):
        return None
    return said.get(f"{parts.scheme}_proxy") or said.get("all_proxy")
