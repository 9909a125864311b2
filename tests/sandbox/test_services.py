"""Services beside a sandbox: on its loopback without a network, told of, kept and put back, gone with it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.conftest import RUNTIME, WORKBENCH, new_place

from dockwright.config import SandboxSettings
from dockwright.errors import ConfigError, SandboxError, SandboxLost
from dockwright.events import Event, Noted, ServiceDied, ServiceStarted
from dockwright.journal import Journal
from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.sandbox.docker import Docker
from dockwright.sandbox.engine import LABEL, connect
from dockwright.sandbox.guard import Guard
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

    async def kill(self, service: str) -> None:
        """End a service from outside and wait until that is known."""
        told = [event for event in self.events if isinstance(event, ServiceDied)]
        await asyncio.to_thread(engine_kill, self.sandbox.place.id, service)
        async with asyncio.timeout(60):
            while [event for event in self.events if isinstance(event, ServiceDied)] == told:
                await asyncio.sleep(0.05)

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
            open_services(Guard(), wanted, sandbox, folder / "services", "work", journal) as services,
        ):
            yield Bench(sandbox, services, events)


def engine_kill(run: str, service: str) -> None:
    client = connect()
    client.containers.get(f"dockwright-{run}-{service}").kill()
    client.close()


def what_the_engine_has(run: str) -> Sequence[str]:
    client = connect()
    mine: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={run}"}
    names = [str(container.name) for container in client.containers.list(all=True, filters=mine, ignore_removed=True)]
    names += [str(volume.name) for volume in client.volumes.list(filters=mine)]
    client.close()
    return names


async def test_real_databases_answer_on_the_loopback_of_a_sandbox_without_network(tmp_path: Path) -> None:
    async with bench(tmp_path, "postgres", "redis") as b:
        assert await b.psql("SELECT current_database(), 6 * 7") == "app|42"
        assert await b.redis("PING") == "PONG"
        assert await b.sh("ls /sys/class/net") == "lo"
        assert sorted(event.name for event in b.events if isinstance(event, ServiceStarted)) == ["postgres", "redis"]
        run = b.sandbox.place.id
        assert {name.split(run)[1][:9] for name in what_the_engine_has(run)} >= {"", "-postgres", "-redis"}
    assert what_the_engine_has(run) == []


async def test_state_is_kept_where_it_changed_and_put_back(tmp_path: Path) -> None:
    async with bench(tmp_path, "postgres", "redis") as b:
        assert await b.services.save() == "postgres-0 redis-0"
        await b.psql("CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g")
        assert await b.services.save() == "postgres-1 redis-0"
        await b.redis("SET a 1")
        assert await b.services.save() == "postgres-1 redis-1"
        assert await b.services.save() == "postgres-1 redis-1"
        await b.psql("DELETE FROM t")
        await b.redis("SET a 2")
        await b.services.restore("postgres-1 redis-1")
        assert (await b.psql("SELECT count(*) FROM t"), await b.redis("GET a")) == ("1000", "1")
        assert await b.services.save() == "postgres-1 redis-1"
        await b.redis("SET b 1")
        assert await b.services.save() == "postgres-1 redis-2"
        await b.services.restore(None)
        assert (await b.psql("SELECT count(*) FROM pg_tables WHERE tablename = 't'"), await b.redis("DBSIZE")) == (
            "0",
            "0",
        )
        with pytest.raises(SandboxError, match="state 9 of redis is not there"):
            await b.services.restore("postgres-1 redis-9")
        assert not any(isinstance(event, ServiceDied | Noted) for event in b.events)


async def test_a_service_that_dies_comes_back_with_its_data_and_the_model_is_told(tmp_path: Path) -> None:
    async with bench(tmp_path, "postgres", "redis") as b:
        await b.psql("CREATE TABLE u AS SELECT 1 AS x")
        await b.redis("SET b 7")
        for name in ("postgres", "redis"):
            await b.kill(name)
            assert f"The service {name} died: it ended with exit code 137" in await b.services.word()
        assert (await b.psql("SELECT x FROM u"), await b.redis("GET b")) == ("1", "7")
        assert [(e.name, e.back) for e in b.events if isinstance(e, ServiceDied)] == [
            ("postgres", True),
            ("redis", True),
        ]
        assert await b.services.word() == ""


async def test_a_service_that_cannot_be_brought_back_is_a_lost_sandbox(tmp_path: Path) -> None:
    async with bench(tmp_path, "redis") as b:
        for _ in range(3):
            await b.kill("redis")
            await b.services.word()
        await b.kill("redis")
        with pytest.raises(SandboxLost, match=r"redis died .* cannot be brought back"):
            await b.services.word()
        with pytest.raises(SandboxLost):
            await b.services.save()


async def test_a_service_has_no_rights_and_a_limit_on_everything(tmp_path: Path) -> None:
    async with bench(tmp_path, "postgres") as b:
        await b.psql("CREATE TABLE o (line text)")
        await b.psql(
            "COPY o FROM PROGRAM 'id -u; grep -e Cap -e NoNew /proc/self/status; touch /x 2>&1 || true' DELIMITER '|'"
        )
        seen = await b.psql("SELECT line FROM o")
        assert "Read-only file system" in seen
        assert "NoNewPrivs:\t1" in seen
        assert seen.splitlines()[0] != "0"
        assert [line for line in seen.splitlines() if line.startswith("Cap") and not line.endswith("0" * 16)] == []
        client = connect()
        limits = client.containers.get(f"dockwright-{b.sandbox.place.id}-postgres").attrs["HostConfig"]
        client.close()
        assert (limits["Memory"], limits["MemorySwap"], limits["PidsLimit"]) == (1 << 30, 1 << 30, 256)
        assert limits["Binds"] is None


async def test_roles_and_databases_are_those_that_the_configuration_names(tmp_path: Path) -> None:
    settings = {"service": {"postgres": {"env": {"POSTGRES_USER": "shop", "POSTGRES_DB": "orders"}, "port": 6432}}}
    async with bench(tmp_path, "postgres", **settings) as b:
        assert await b.psql("SELECT current_user, current_database(), inet_server_port()") == "shop|orders|6432"
        await b.psql("CREATE TABLE t AS SELECT 1 AS x")
        name = await b.services.save()
        await b.psql("DROP TABLE t")
        await b.services.restore(name)
        assert await b.psql("SELECT x FROM t") == "1"


async def test_any_image_is_a_service_with_a_port_and_a_health_command(tmp_path: Path) -> None:
    said = {
        "image": WORKBENCH, "port": 8123, "data": "/srv",
        "command": ["python3", "-m", "http.server", "8123", "-d", "/srv"],
        "health": "getent hosts localhost > /srv/index.html", "tell": {"FILES_URL": "http://127.0.0.1:8123/"},
    }  # fmt: skip
    async with bench(tmp_path, "files", service={"files": said}) as b:
        assert (await b.sh('curl -s "$FILES_URL"')).split()[:2] == ["::1", "localhost"]  # it knows its own name


async def test_one_that_does_not_become_ready_says_what_it_said(tmp_path: Path) -> None:
    settings = {"service": {"postgres": {"command": ["-c", "no_such_setting=1"]}}}
    with pytest.raises(
        SandboxError, match=r"postgres .* did not become ready: it ended with exit code 1; .*no_such_set"
    ):
        async with bench(tmp_path, "postgres", **settings):
            pass


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mysql"], r"neither postgres nor redis.*\[sandbox.service.mysql\]"),
        (["redis", "redis=other/redis"], "same redis"),
    ],
)
def test_what_is_not_known_enough_is_refused_before_anything_starts(names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        services_of(SandboxSettings.model_validate({"services": names}))


@pytest.mark.bubblewrap
async def test_without_an_engine_services_are_refused_with_what_to_do(tmp_path: Path) -> None:
    wanted = services_of(SandboxSettings(services=("postgres",)))
    with Journal(tmp_path / "journal.jsonl") as journal:
        async with open_sandbox(new_place("bubblewrap")) as sandbox:
            with pytest.raises(
                ConfigError, match=r"postgres.* are containers.*--sandbox docker, or go without --services"
            ):
                async with open_services(Guard(), wanted, sandbox, tmp_path, "work", journal):
                    pass
