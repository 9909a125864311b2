"""devcontainer.json and compose files: what is used, what is ignored, and that each part is one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dockwright.config import Config
from dockwright.errors import ConfigError
from dockwright.project_files import read_compose, read_devcontainer
from dockwright.services import services_of

DEVCONTAINER = """{
  // A comment, and "a // in a text".
  "name": "shop",
  "image": "registry.example.org/shop:1", /* its image */
  "containerEnv": {"URL": "http://x//y", "TOKEN": "${localEnv:TOKEN}"},
  "postCreateCommand": {"one": "npm ci", "two": ["echo", "a b"]},
  "forwardPorts": [8000],
  "customizations": {"vscode": {}}, // the last
}"""
COMPOSE = """
services:
  api: {build: ., ports: ["8000:8000"], depends_on: [db]}
  db:
    image: postgres:16-alpine
    environment: [POSTGRES_USER=shop, "POSTGRES_PASSWORD=${SECRET:-dev}", POSTGRES_DB=orders, "X=${HOST_ONLY}"]
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck: {test: pg_isready}
  cache: {image: "redis:7"}
  mail:
    image: mail/hog:1
    ports: ["8025:8025/tcp"]
    healthcheck: {test: [CMD-SHELL, "nc -z localhost 8025"]}
  worker: {image: "shop/worker"}
volumes: {data: {}}
"""


def test_a_devcontainer_gives_image_setup_environment_and_ports_and_the_rest_is_named(tmp_path: Path) -> None:
    (tmp_path / ".devcontainer").mkdir()
    (tmp_path / ".devcontainer" / "devcontainer.json").write_text(DEVCONTAINER)
    reading = read_devcontainer(tmp_path)
    assert reading.settings == {
        "sandbox.image": "registry.example.org/shop:1",
        "sandbox.setup": "npm ci && echo 'a b'",
        "sandbox.env": {"URL": "http://x//y"},
    }
    assert reading.ignored == ("environment TOKEN, whose value is this machine's", "name", "customizations")
    assert "ports: dockwright open RUN 8000" in reading.used


def test_a_devcontainer_that_is_built_is_refused_with_how_to_build_it(tmp_path: Path) -> None:
    (tmp_path / ".devcontainer.json").write_text('{"build": {"dockerfile": "Dockerfile.dev"}}')
    with pytest.raises(ConfigError, match=r"docker build -t my-image -f .*Dockerfile\.dev"):
        read_devcontainer(tmp_path)
    with pytest.raises(ConfigError, match="there is neither"):
        read_devcontainer(tmp_path / "elsewhere")


def test_a_compose_file_gives_services_that_can_be_started_and_the_rest_is_named(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    reading = read_compose(tmp_path / "compose.yaml")
    config = Config.load(None, reading.settings)
    postgres, redis, mail = services_of(config.sandbox)
    assert postgres.tell["DATABASE_URL"] == "postgresql://shop:dev@127.0.0.1:5432/orders"
    assert redis.tell["REDIS_URL"] == "redis://127.0.0.1:6379/0"
    assert (mail.image, mail.port, mail.health) == ("mail/hog:1", 8025, "nc -z localhost 8025")
    assert set(reading.ignored) == {
        "volumes", "api: it is built; the agent works on it and starts it itself", "db: volumes", "db: healthcheck",
        "db: environment X, whose value is this machine's", "worker: it names no port",
    }  # fmt: skip
    assert any("--services postgres=postgres:16-alpine" in line for line in reading.used)


BUILT = """
services:
  api:
    image: "${IMAGE?not set}:latest"
    build: .
    ports: ["8000:8000"]
    environment:
      - DATABASE_URL=postgresql+asyncpg://${DB_USER}:${DB_PASSWORD?not set}@db:5432/orders
      - POSTGRES_SERVER=db
      - POSTGRES_PORT=5432
      - BROKER=redis://user:x@cache/0
      - CACHE_KIND=cache
      - SECRET_KEY=${SECRET_KEY}
      - DEBUG=true
  db: {image: "postgres:16", env_file: [.env, ../outside.env]}
  cache: {image: "redis:7"}
"""


def test_what_is_built_is_told_of_its_databases_where_they_are_and_of_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "compose.yaml").write_text(BUILT)
    (folder / ".env").write_text(
        "# mine\nexport DB_USER='shop'\nDB_PASSWORD=a=b\nPOSTGRES_USER=shop\nSECRET_KEY=mine\n"
    )
    (tmp_path / "outside.env").write_text("POSTGRES_DB=outside\n")
    reading = read_compose(folder / "compose.yaml")
    postgres, redis = services_of(Config.load(None, reading.settings).sandbox)
    assert postgres.tell == {
        "DATABASE_URL": "postgresql+asyncpg://shop:a=b@127.0.0.1:5432/orders", "POSTGRES_SERVER": "127.0.0.1",
        "POSTGRES_PORT": "5432", "PGHOST": "127.0.0.1", "PGPORT": "5432", "PGUSER": "shop", "PGDATABASE": "shop",
    }  # fmt: skip
    assert redis.tell == {"REDIS_URL": "redis://127.0.0.1:6379/0", "BROKER": "redis://user:x@127.0.0.1/0"}
    assert "api: environment DATABASE_URL, POSTGRES_SERVER, POSTGRES_PORT, BROKER" in reading.used
    assert [line for line in reading.ignored if "environment CACHE_KIND, DEBUG, SECRET_KEY:" in line] != []
    assert "mine" not in str(reading)


@pytest.mark.parametrize("text", ["[]", "services: 3", "a: [", "version: 3"])
def test_what_is_no_compose_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "compose.yaml").write_text(text)
    with pytest.raises(ConfigError, match="--compose: "):
        read_compose(tmp_path / "compose.yaml")
