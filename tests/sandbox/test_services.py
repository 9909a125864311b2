"""Services beside a sandbox: on its loopback without a network, told of, kept and put back, gone with it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import RUNTIME, WORKBENCH

from dockwright.config import SandboxSettings
from dockwright.errors import ConfigError, SandboxError, SandboxLost
from dockwright.events import Event, ServiceDied, ServiceStarted
from dockwright.journal import Journal
from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.sandbox.docker import Docker
from dockwright.sandbox.engine import LABEL, connect
from dockwright.services import Services, open_services, services_of

pytestmark = pytest.mark.docker


class Bench:
    """A sandbox with services, what the journal was told, and two programs of the agent."""

    def __init__(self, sandbox: Sandbox, services: Services, events: list[Event]) -> None:
        self.sandbox, self.services, self.events = sandbox, services, events

    async def sh(self, command: str) -> str:
        result = await self.sandbox.exec(["bash", "-c", command], env=self.services.env, merge=True, timeout=60)
        assert result.exit_code == 0, result.stdout.decode()
        return result.stdout.decode().strip()

    async def psql(self, query: str) -> str:
        return await self.sh(f'psql -qAtX "$DATABASE_URL" -c "{query}"')

    async def redis(self, command: str) -> str:
        return await self.sh(f'redis-cli -u "$REDIS_URL" {command}')


@asynccontextmanager
async def bench(folder: Path, *names: str, **settings: object) -> AsyncIterator[Bench]:
    place = Docker(WORKBENCH, f"test-{uuid.uuid4().hex[:12]}", runtime_image=RUNTIME)
    events: list[Event] = []
    wanted = services_of(SandboxSettings.model_validate({"services": names, **settings}))
    with Journal(folder / "journal.jsonl", (events.append,)) as journal:
        async with (
            open_sandbox(place) as sandbox,
            open_services(wanted, sandbox, folder / "services", "work", journal) as services,
        ):
            yield Bench(sandbox, services, events)


def engine_kill(run: str, service: str) -> None:
    client = connect()
    client.containers.get(f"dockwright-{run}-{service}").kill()
    client.close()


def what_the_engine_has(run: str) -> Sequence[str]:
    client = connect()
    mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={run}"}
    names = [str(thing.name) for thing in (*client.containers.list(all=True, filters=mine), *client.volumes.list(filters=mine))]
    client.close()
    return names


async def test_real_databases_answer_on_the_loopback_of_a_sandbox_without_network(tmp_path: Path) -> None:
    t = time.monotonic()
    async with bench(tmp_path, "postgres", "redis") as b:
        print("up", time.monotonic() - t, b.events)
        assert await b.psql("SELECT current_database(), 6 * 7") == "app|42"
        assert await b.redis("PING") == "PONG"
        assert [event.name for event in b.events if isinstance(event, ServiceStarted)]
        for i in range(3):
            t = time.monotonic(); await b.services.save(); print("save", time.monotonic() - t)
        await b.psql("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 100000) g")
        await b.redis("SET a 1")
        t = time.monotonic(); print(await b.services.save(), "save changed", time.monotonic() - t)
        t = time.monotonic(); print(await b.services.save(), "save same", time.monotonic() - t)
        await b.psql("DROP TABLE t"); await b.redis("SET a 2")
        t = time.monotonic(); await b.services.restore("postgres-1 redis-1"); print("restore", time.monotonic() - t)
        assert await b.psql("SELECT count(*) FROM t") == "100000"
        assert await b.redis("GET a") == "1"
        t = time.monotonic(); await b.services.restore("postgres-0 redis-0"); print("restore new", time.monotonic() - t)
        assert await b.psql("SELECT count(*) FROM pg_tables WHERE tablename = 't'") == "0"
        assert await b.redis("GET a") == ""
        await b.psql("CREATE TABLE u AS SELECT 1"); await b.redis("SET b 7")
        for name in ("postgres", "redis"):
            engine_kill(b.sandbox.place.id, name)
            await asyncio.sleep(0.5)
            t = time.monotonic(); print(await b.services.word(), time.monotonic() - t)
        assert await b.psql("SELECT count(*) FROM u") == "1"
        assert await b.redis("GET b") == "7"
        print([f"{f.name} {f.stat().st_size}" for f in (tmp_path / "services").iterdir()])
        run = b.sandbox.place.id
        print(what_the_engine_has(run))
    assert what_the_engine_has(run) == []
