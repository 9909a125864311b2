"""The services there are: what each is made from, what the agent is told of it, how its state is asked and taken out.

PostgreSQL and Redis are known, from our image or any other that has their programs. Of any other image the
configuration says what is to be known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from dockwright.config import SandboxSettings, ServiceSettings
from dockwright.errors import ConfigError
from dockwright.sandbox import Sandbox
from dockwright.services import asking

IMAGE = "dockwright/services:latest"
Mark = Callable[[Sandbox], Awaitable[str]]

_POSTGRES = (
    "postgres", "-c", "listen_addresses=127.0.0.1,::1", "-c", "unix_socket_directories=/tmp", "-c", "fsync=off",
    "-c", "full_page_writes=off", "-c", "max_wal_senders=3",
    "-c", "max_wal_size=256MB", "-c", "min_wal_size=32MB", "-c", "log_checkpoints=off",
)  # fmt: skip
_REDIS = (
    "redis-server", "--bind", "127.0.0.1", "-::1", "--dir", "/data/redis", "--save", "", "--appendonly", "yes",
    "--appendfsync", "no",
)  # fmt: skip
# Online, so that no connection of the agent's is cut; with the write-ahead log that the copy needs.
_SAVE_POSTGRES = (
    "pg_basebackup --host /tmp --username {user} --no-password --pgdata - --format tar --wal-method fetch "
    "--checkpoint fast --no-manifest"
)
_LOAD_POSTGRES = "rm -rf /data/postgres/db && mkdir -m 700 /data/postgres/db && tar -xz -C /data/postgres/db"
_SAVE_REDIS = 'test "$(redis-cli SAVE)" = OK && cat /data/redis/dump.rdb'
# Redis reads nothing but its append-only file where it keeps one: the dump becomes the base of a new one.
_LOAD_REDIS = (
    "cd /data/redis && rm -rf appendonlydir dump.rdb && mkdir appendonlydir && cd appendonlydir && "
    "gzip -d > appendonly.aof.1.base.rdb && "
    "echo 'file appendonly.aof.1.base.rdb seq 1 type b' > appendonly.aof.manifest"
)


@dataclass(frozen=True)
class Service:
    """`mark` says what changes with its data and raises OSError until it answers; it is the health check, too, but
    for a `health` command of the user's. `save` writes the state to its output, `load` takes it, packed, from its
    input, before the program starts: shell scripts, run in its container. Without them its state is not kept.
    `first` are queries for a new PostgreSQL. `env` is its own environment, `tell` what commands in the sandbox get."""

    name: str
    image: str
    port: int
    words: str
    mark: Mark
    tell: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    user: str | None = None
    data: str | None = None
    health: str | None = None
    save: str | None = None
    load: str | None = None
    first: tuple[tuple[str, str], ...] = ()
    memory: int = 1 << 30

    @property
    def line(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.tell.items())
        return f"{self.name}: {self.words} at 127.0.0.1:{self.port}" + (
            f"; set for every command: {told}" if told else ""
        )


def services_of(settings: SandboxSettings) -> tuple[Service, ...]:
    """Those that were asked for, as NAME or NAME=IMAGE. Raises ConfigError for one of which too little is known."""
    found = [_service(*asked.partition("=")[::2], settings.service) for asked in settings.services]
    for values in ([one.name for one in found], [f"port {one.port}" for one in found]):
        if twice := [value for value in values if values.count(value) > 1]:
            raise ConfigError(f"--services: two of them have the same {twice[0]}. All share one loopback.")
    return tuple(found)


def _service(name: str, image: str, known: Mapping[str, ServiceSettings]) -> Service:
    said = known.get(name, ServiceSettings())
    image = image or said.image or ""
    match name:
        case "postgres":
            return _postgres(image or IMAGE, said)
        case "redis":
            url = f"redis://127.0.0.1:{said.port or 6379}/0"
            port = said.port or 6379
            return Service(
                "redis", image or IMAGE, port, "Redis", lambda sandbox: asking.redis(sandbox, port),
                tell={"REDIS_URL": url, **said.tell}, env=said.env,
                command=(*_REDIS, "--port", str(port), *said.command), user=said.user or "redis", data="/data/redis",
                save=_SAVE_REDIS.replace("redis-cli", f"redis-cli -p {port}"), load=_LOAD_REDIS, memory=said.memory,
            )  # fmt: skip
    if not image or said.port is None:
        raise ConfigError(
            f"--services {name}: this is neither postgres nor redis, so say what it is in the configuration file: "
            f'[sandbox.service.{name}] with image = "..." and port = ...'
        )
    return Service(
        name, image, said.port, f"the image {image}", lambda sandbox: _answers(sandbox, said.port or 0),
        tell=said.tell, env=said.env, command=said.command, user=said.user, data=said.data, health=said.health,
        memory=said.memory,
    )  # fmt: skip


def _postgres(image: str, said: ServiceSettings) -> Service:
    user = said.env.get("POSTGRES_USER", "postgres")
    password = said.env.get("POSTGRES_PASSWORD", "postgres")
    database = said.env.get("POSTGRES_DB", user if user != "postgres" else "app")
    port = said.port or 5432
    first = []
    if image == IMAGE:  # others do this by themselves
        if user != "postgres":
            first.append((user, f"CREATE ROLE {_quoted(user)} SUPERUSER LOGIN"))
        if database not in ("app", "postgres"):
            first.append((database, f"CREATE DATABASE {_quoted(database)} OWNER {_quoted(user)}"))
    env = {"POSTGRES_USER": user, "POSTGRES_PASSWORD": password, "POSTGRES_DB": database, **said.env}
    env |= {"POSTGRES_HOST_AUTH_METHOD": "trust", "PGDATA": "/data/postgres/db", "PGPORT": str(port)}
    url = f"postgresql://{quote(user, '')}:{quote(password, '')}@127.0.0.1:{port}/{quote(database, '')}"
    tell = {"DATABASE_URL": url, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGDATABASE": database}
    asker = "postgres" if image == IMAGE else user
    # Changes with each transaction that wrote something, and with nothing else.
    query = "SELECT pg_snapshot_xmax(pg_current_snapshot())"
    return Service(
        "postgres", image, port, f"PostgreSQL, as its superuser {user}",
        lambda sandbox: asking.postgres(sandbox, port, asker, query),
        tell={**tell, **said.tell}, env=env, command=(*_POSTGRES, *said.command), user=said.user or "postgres",
        data="/data/postgres", save=_SAVE_POSTGRES.format(user=asker), load=_LOAD_POSTGRES, first=tuple(first),
        memory=said.memory,
    )  # fmt: skip


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def _answers(sandbox: Sandbox, port: int) -> str:
    stream = await sandbox.connect(port)
    stream.cancel()
    return ""
