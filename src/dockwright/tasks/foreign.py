"""Task lists of others as ours: SWE-bench instances, and folders of Harbor tasks (Terminal-Bench 2).

What we have no counterpart for is left out and named in the metadata of the task; a reference solution is never read.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shlex
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from dockwright.tasks.formats import Entry, Mistake, Parsed

INSTANCE_ID = "instance_id"
_TOLD = ("version", "FAIL_TO_PASS", "PASS_TO_PASS")  # of an instance, in the metadata
_UNUSED = ("test_patch", "hints_text", "environment_setup_commit")
_IMAGES = ("image", "docker_image", "image_name")
_TASK_FILE = "task.toml"
_BUILDS = ("Dockerfile", "docker-compose.yaml")
_MOST_TESTS = 90_000  # characters: they travel in the command line of the check
# Harbor's places, which do not exist in our sandbox, and those that stand in for them.
_PLACES = {b"/logs/verifier": b"/tmp/harbor/logs", b"/tests": b"/tmp/harbor/tests", b"/app": b"/workspace"}
_PLACE = re.compile(rb"(?<![\w./-])(?:/logs/verifier|/tests|/app)(?![\w-])")


def swe_bench(entry: Entry, repos: Path | None) -> Entry | Mistake:
    """An instance as a task on the local checkout of its repository, at its base commit."""
    given = entry.values
    repo = str(given.get("repo") or "")
    if repos is None:
        return Mistake(entry.line, "this is a SWE-bench instance; say with --repos DIR where the checkouts are")
    names = [repo, repo.replace("/", "__"), repo.rpartition("/")[2]]
    found = next((repos / name for name in names if name and (repos / name).is_dir()), None)
    if found is None:
        return Mistake(entry.line, f"there is no checkout of {repo or 'its repository'} in {repos}")
    told: dict[str, JsonValue] = {name: _listed(given[name]) for name in _TOLD if name in given}
    told |= {"repo": repo, "ignored": [name for name in _UNUSED if given.get(name)]}
    values: dict[str, JsonValue] = {
        "id": given[INSTANCE_ID], "prompt": given.get("problem_statement"), "repo": str(found.absolute()),
        "base": given.get("base_commit"), "metadata": told, "deliver": "patch", "check": [],
    }  # fmt: skip
    if images := [given[name] for name in _IMAGES if given.get(name)]:
        values["image"] = images[0]
    return Entry(entry.line, values, is_defaults=entry.is_defaults)


def _listed(value: JsonValue) -> JsonValue:
    """The lists of test names are JSON inside of JSON."""
    if isinstance(value, str) and value.startswith("["):
        try:
            parsed: JsonValue = json.loads(value)
        except ValueError:
            return value
        return parsed
    return value


def is_harbor(folder: Path) -> bool:
    return (folder / _TASK_FILE).is_file() or any(folder.glob(f"*/{_TASK_FILE}"))


def harbor(folder: Path) -> Parsed:
    """A task folder, or a folder of them, in the order of their names."""
    found = [folder / _TASK_FILE] if (folder / _TASK_FILE).is_file() else sorted(folder.glob(f"*/{_TASK_FILE}"))
    for number, path in enumerate(found, start=1):
        yield from _harbor_task(number, path.parent)


def _harbor_task(number: int, folder: Path) -> Iterator[Entry | Mistake]:
    try:
        settings = tomllib.loads((folder / _TASK_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        yield Mistake(number, f"{folder.name}/{_TASK_FILE} cannot be read: {error}")
        return
    environment, agent = _table(settings, "environment"), _table(settings, "agent")
    values: dict[str, JsonValue] = {
        "id": folder.name, "prompt_file": str(folder / "instruction.md"), "repo": str(folder / "environment"),
    }  # fmt: skip
    if settings.get("steps"):
        yield Mistake(number, f"{folder.name}: tasks of several steps are not taken")
    if image := environment.get("docker_image"):
        values["image"] = image
    if environment.get("network_mode") == "no-network" or environment.get("allow_internet") is False:
        values["net"] = ["none"]
    elif environment.get("network_mode") == "allowlist":
        values["net"] = environment.get("allowed_hosts") or ["none"]
    if isinstance(seconds := agent.get("timeout_sec"), int | float):
        values["minutes"] = seconds / 60
    if (folder / "tests").is_dir():
        command = _tests(folder / "tests")
        if len(command) > _MOST_TESTS:
            yield Mistake(number, f"{folder.name}: its tests are larger than a command line takes")
        else:
            values["check"] = [command]
    ignored = [f"{table}.{key}" for table in ("environment", "agent", "verifier") for key in _table(settings, table)]
    used = ("environment.docker_image", "environment.network_mode", "environment.allow_internet",
            "environment.allowed_hosts", "agent.timeout_sec")  # fmt: skip
    left_out: list[JsonValue] = [name for name in ignored if name not in used]
    left_out += [f"environment/{name}" for name in _BUILDS if (folder / "environment" / name).exists()]
    values["metadata"] = {**_table(settings, "metadata"), "ignored": left_out}
    yield Entry(number, values)


def _table(settings: dict[str, Any], name: str) -> dict[str, Any]:
    table = settings.get(name)
    return table if isinstance(table, dict) else {}


def _tests(folder: Path) -> str:
    """A command that unpacks the tests beside the workspace and runs them; a reward that they write decides."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            data = _PLACE.sub(lambda found: _PLACES[found[0]], path.read_bytes())
            entry = tarfile.TarInfo(f"tests/{path.relative_to(folder)}")
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    text = base64.b64encode(gzip.compress(packed.getvalue(), mtime=0)).decode()
    return (
        f"mkdir -p /tmp/harbor/logs && echo {shlex.quote(text)} | base64 -d | tar -xz -C /tmp/harbor && "
        "{ bash /tmp/harbor/tests/test.sh; code=$?; reward=/tmp/harbor/logs/reward.txt; "
        'if [ -e $reward ]; then grep -Eqx "1(\\.0*)?" $reward; else exit $code; fi; }'
    )
