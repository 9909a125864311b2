"""What must never be written: the model's key, and what the user named. Taken out of the environment of this process
before any child is started, and out of every traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, MutableMapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dockwright.errors import ConfigError

if TYPE_CHECKING:
    from dockwright.config import Config, ModelSettings
    from dockwright.redaction import Redaction

_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_CUSTOM_HEADERS")
_SHORTEST_KEY = 16  # servers of one's own are given words like "none" for a key


def forget_keys(model: ModelSettings, env: MutableMapping[str, str]) -> None:
    for name in (*_KEYS, model.api_key_env):
        env.pop(name, None)


def take_secrets(config: Config, env: MutableMapping[str, str]) -> Redaction:
    """The secrets that `config` names, and the model's. Raises ConfigError where one is not there."""
    from dockwright.redaction import Redaction

    named = dict(_read(said, env) for said in config.secrets)
    redaction = Redaction({**dict(_of_the_model(config.model)), **named})
    sys.excepthook = partial(_print_redacted, redaction)
    return redaction


def _read(said: str, env: MutableMapping[str, str]) -> tuple[str, str]:
    name, is_file, path = said.partition("=")
    if not is_file:
        if name not in env:
            raise ConfigError(f"The secret {name} is not in the environment. Set it, or name a file: {name}=FILE.")
        return name, env.pop(name)
    try:
        return name, Path(path).expanduser().read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise ConfigError(f"The secret {name} cannot be read from {path}: {error.strerror}.") from None


def _of_the_model(model: ModelSettings) -> Iterator[tuple[str, str]]:
    proxy = urlsplit(model.proxy or "").password
    secrets = {
        model.api_key_env: model.api_key and model.api_key.get_secret_value(),
        "ANTHROPIC_AUTH_TOKEN": model.auth_token and model.auth_token.get_secret_value(),
        "proxy password": proxy,
        **{f"header {name}": value.removeprefix("Bearer ") for name, value in model.headers.items()},
    }
    yield from ((name, value) for name, value in secrets.items() if value and len(value) >= _SHORTEST_KEY)


def _print_redacted(
    redaction: Redaction, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.stderr.write(redaction.text("".join(traceback.format_exception(kind, error, trace))))
