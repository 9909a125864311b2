"""The setup of a project: run as root once, kept as an image, there for the agent and for the proof; and what its
devcontainer.json and its compose file say of that."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.conftest import WORKBENCH
from tests.e2e.running import REPORT, WORK, Desk, leftovers
from tests.repositories import write
from tests.sandbox import migration_projects as projects

from dockwright.result import RunResult
from dockwright.sandbox.engine import connect
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

pytestmark = pytest.mark.docker

LOOK = "cat /usr/local/share/tool node_modules/dep && id -u && ! touch /usr/local/x 2> /dev/null && git status --short"


@pytest.fixture
def setup() -> Iterator[str]:
    """A command that nobody has run before; the images that it makes are removed."""
    mark = uuid.uuid4().hex
    yield (
        f"echo {mark} > /usr/local/share/tool && mkdir -p node_modules && echo dep > node_modules/dep && "
        "echo new > not-ignored && cat requirements.txt && getent hosts localhost && id -u"
    )
    client = connect()
    for image in client.images.list(name="dockwright/setup"):
        if mark in str(image.labels):
            client.images.remove(str(image.id), force=True)
    client.close()


def project(folder: Path) -> Desk:
    desk = Desk(folder)
    (desk.repo / ".gitignore").write_text("node_modules/\n")
    (desk.repo / "requirements.txt").write_text("flask\n")
    return desk


async def test_a_setup_is_run_once_and_is_there_for_the_agent_and_the_proof(tmp_path: Path, setup: str) -> None:
    desk = project(tmp_path)
    look = tool_use("Bash", {"command": LOOK})
    write = tool_use("Write", {"file_path": "/workspace/app.sh", "content": "echo hello\n"})
    check = "cat /usr/local/share/tool node_modules/dep"
    script: list[Turn | str] = [Turn([look]), Turn([write]), Turn([REPORT]), "Done."]
    code, said = await desk.run(script, "--setup", setup, "--check", check)
    assert code == 0, said
    assert "Setting up, once" in said
    assert "not-ignored" in said
    kept = said.split("is kept as ")[1].split(";")[0]
    _, left = await desk.call(None, "gc", "--dry-run")
    assert kept not in left  # the process that made it is gone, and it stays
    first = desk.runs[0]
    results = [json.loads(line) for line in (first / "journal.jsonl").read_text().splitlines()]
    seen = next(event["content"] for event in results if event["type"] == "tool.finished")
    assert seen.split() == [setup.split()[1], "dep", "1000"]
    assert sorted(leftovers("setup-")) == []
    code, said = await desk.run([Turn([write]), Turn([REPORT]), "Done."], "--setup", setup)
    assert code == 0, said
    assert "Setting up, once" not in said
    (desk.repo / "requirements.txt").write_text("django\n")
    code, said = await desk.run([Turn([write]), Turn([REPORT]), "Done."], "--setup", setup)
    assert code == 0, said
    assert "Setting up, once" in said


DEVCONTAINER = """{
  // as editors write it
  "name": "shop",
  "image": "dockwright/workbench:latest",
  "features": {"ghcr.io/devcontainers/features/git:1": {}},
  "containerEnv": {"GREETING": "hello"},
  "postCreateCommand": %s,
}"""
COMPOSE = """
services:
  db:
    image: postgres:16
    env_file: .env
    healthcheck: {test: [CMD-SHELL, "pg_isready -U $${POSTGRES_USER}"]}
  cache: {image: "redis:7-alpine"}
  api:
    image: shop-api:latest
    build: .
    environment:
      DATABASE_URL: postgresql+psycopg2://${POSTGRES_USER}:${POSTGRES_PASSWORD:-none}@db:5432/orders
      CACHE_HOST: cache
      SECRET_KEY: ${SECRET_KEY}
"""
ASK = """import os, redis, sqlalchemy
with sqlalchemy.create_engine(os.environ["DATABASE_URL"]).connect() as database:
    print(*database.execute(sqlalchemy.text("SELECT current_user, current_database()")).one())
print(redis.Redis(os.environ["CACHE_HOST"]).ping(), os.environ["GREETING"], "SECRET_KEY" in os.environ)
"""


async def test_devcontainer_and_compose_file_of_a_project_give_its_image_setup_and_databases(
    tmp_path: Path, setup: str
) -> None:
    desk = project(tmp_path)
    (desk.repo / ".devcontainer").mkdir()
    (desk.repo / ".devcontainer" / "devcontainer.json").write_text(DEVCONTAINER % json.dumps(setup))
    (desk.repo / "compose.yaml").write_text(COMPOSE)
    (desk.repo / ".gitignore").write_text(".env\nnode_modules/\n")
    (desk.repo / ".env").write_text('SECRET_KEY=mine\nPOSTGRES_USER="shop"\nPOSTGRES_PASSWORD=a\nPOSTGRES_DB=orders\n')
    ask = tool_use("Write", {"file_path": "/workspace/ask.py", "content": ASK})
    check = f"test \"$(python3 ask.py | tr '\\n' ' ')\" = 'shop orders True hello False ' && {LOOK.partition(' &&')[0]}"
    code, said = await desk.run(
        [Turn([ask]), Turn([tool_use("Bash", {"command": check})]), Turn([REPORT]), "Done."],
        "--devcontainer", "--compose", str(desk.repo / "compose.yaml"), "--check", check,
    )  # fmt: skip
    assert code == 0, said
    for line in (
        "used      image dockwright/workbench:latest", "used      environment: GREETING", "ignored   features",
        "used      db: postgres, at 127.0.0.1", "used      cache: redis, at 127.0.0.1", "ignored   db: healthcheck",
        "used      api: environment DATABASE_URL, CACHE_HOST", "environment SECRET_KEY: what it needs",
    ):  # fmt: skip
        assert line in said, said


async def test_npm_packages_are_kept_for_runs_without_a_network_and_knex_names_what_breaks_on_postgresql(
    tmp_path: Path, setup: str
) -> None:
    desk = project(tmp_path)
    ask = ["docker", "run", "--rm", "--network", "none", WORKBENCH, "npm", "config", "get", "registry"]
    registry = urlsplit(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()).hostname or ""
    write(desk.repo, projects.KNEX)
    npm = ("--setup", f"npm install --no-package-lock --no-audit --no-fund && {setup}")
    broken = [
        tool_use("Write", {"file_path": f"/workspace/{name}", "content": text.decode()})
        for name, text in projects.KNEX_BROKEN.items()
    ]
    proof = ("--services", "postgres", "--check-migrations", "knex", "--repairs", "0")
    online = [registry if word == "none" else word for word in desk.arguments("docker", *npm, *proof)]
    async with ScriptedApi([Turn(broken), Turn([REPORT]), "Done."]) as api:
        code, said = await desk.call(api, *online)
    assert (code, said.count("upgrade of the base commit: ok")) == (3, 2), said
    result = RunResult.model_validate_json((desk.runs[0] / "report.json").read_text())
    assert [check.facts["failed"] for check in result.checks] == ["downgrade of 2_lines.js"] * 3
    assert "CREATE TABLE public.lines" in str(result.checks[0].facts["schema_diff"])
    code, said = await desk.run(WORK, *npm, "--check", "node -e \"require('knex')\"")
    assert (code, "Setting up, once" in said) == (0, False), said


async def test_a_setup_that_fails_ends_the_run_before_the_first_turn_with_what_it_said(tmp_path: Path) -> None:
    desk = project(tmp_path)
    code, said = await desk.run(["never asked"], "--setup", "echo no such package; exit 7")
    assert code == 2
    assert "The setup ended with exit code 7" in said
    assert "no such package" in said
    assert leftovers(desk.runs[0].name) == []
