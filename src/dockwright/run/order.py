"""What a run was asked for, in its folder, so that another process can take it up: the task with the persona's text,
and the configuration without what is secret."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from dockwright.config import Config
from dockwright.errors import ConfigError
from dockwright.redaction import Redaction
from dockwright.run.work import Task
from dockwright.workspace.durable import write_durably

_TASK = TypeAdapter(Task)
_SECRET = {"model": {"api_key", "auth_token", "headers", "proxy"}}


def save_order(folder: Path, task: Task, config: Config, redaction: Redaction) -> None:
    order = {"task": _TASK.dump_python(task, mode="json"), "config": config.model_dump(mode="json", exclude=_SECRET)}
    write_durably(folder / "order.json", redaction.text(json.dumps(order)).encode())


def load_order(folder: Path) -> tuple[Task, Config]:
    """Raises ConfigError where there is none that this version understands."""
    try:
        order = json.loads((folder / "order.json").read_bytes())
        return _TASK.validate_python(order["task"]), Config.model_validate(order["config"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"What was asked for cannot be read from {folder}: {error}. That run ended before it began, or is of "
            "another version of dockwright; start it anew."
        ) from error
