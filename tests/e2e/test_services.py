"""A run with real databases beside it: at the first turn, at the last, in the proof, and through the death of one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.e2e.running import REPORT, Desk, leftovers

from dockwright.sandbox.engine import connect
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

pytestmark = pytest.mark.docker

EMPTY = 'psql -qX "$DATABASE_URL" -c "DELETE FROM orders" && redis-cli -u "$REDIS_URL" SET orders 0'
COUNT = 'psql -qAtX "$DATABASE_URL" -c "SELECT count(*) FROM orders" && redis-cli -u "$REDIS_URL" GET orders'
FILL = (
    'psql -qX "$DATABASE_URL" -c "CREATE TABLE orders AS SELECT generate_series(1, 7) id" && '
    'redis-cli -u "$REDIS_URL" SET orders 7 && echo "psql \\"\\$DATABASE_URL\\" -c \'SELECT 1\'" > check.sh'
)


def results(folder: Path) -> list[str]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [str(line["content"]) for line in lines if line["type"] == "tool.finished" and line["name"] == "Bash"]


def bash(command: str) -> Turn:
    return Turn([tool_use("Bash", {"command": command})])


async def test_databases_are_there_at_the_first_turn_at_the_last_and_new_in_the_proof(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    no_orders = 'psql -AtX "$DATABASE_URL" -c "SELECT * FROM orders" 2>&1 | grep "does not exist"'
    code, said = await desk.run(
        [bash(FILL), bash(COUNT), Turn([REPORT]), "Done."], "--services", "postgres,redis", "--check", "sh check.sh",
        "--check", no_orders, "--check", 'test "$(redis-cli -u "$REDIS_URL" DBSIZE)" = 0',
    )  # fmt: skip
    assert code == 0, said
    assert results(desk.runs[0])[1].split() == ["7", "7"]
    assert leftovers(desk.runs[0].name) == []


async def test_a_database_that_dies_is_told_of_and_goes_on_with_its_data(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    outage = f'while psql -qX "$DATABASE_URL" -c "SELECT 1"; do sleep 0.1; done; until {COUNT}; do sleep 0.1; done'
    script: list[Turn | str] = [
        bash(FILL),
        bash(f"{{ {outage}; }} > /dev/null 2>&1"),
        bash(COUNT),
        Turn([REPORT]),
        "Done.",
    ]
    async with ScriptedApi(script) as api:
        process = await desk.start(api, *desk.arguments("docker", "--services", "postgres,redis"))
        async with asyncio.timeout(100):
            while len(api.requests) < 2:
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
            client = connect()
            client.containers.get(f"dockwright-{desk.runs[0].name}-postgres").kill()
            client.close()
            output, _ = await process.communicate()
    said = output.decode()
    assert process.returncode == 0, said
    told = "\n".join(results(desk.runs[0])[1:])
    assert "The service postgres died: it ended with exit code 137" in told
    assert results(desk.runs[0])[2].split()[:2] == ["7", "7"]
    assert "postgres died" in said
    assert leftovers(desk.runs[0].name) == []


async def test_databases_go_back_and_are_forked_with_the_files(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    code, said = await desk.run([bash(FILL), bash(EMPTY), Turn([REPORT]), "Done."], "--services", "postgres,redis")
    assert code == 0, said
    async with ScriptedApi([bash(FILL), bash(COUNT), Turn([REPORT]), "Done."]) as api:
        code, said = await desk.call(api, "fork", f"{desk.runs[0].name}@1", "--task", "Count them.")
        assert code == 0, said
        forked = next(folder for folder in desk.runs if folder.name in said)
        code, said = await desk.call(api, "resume", forked.name)
    assert code == 0, said
    assert results(forked)[-1].split() == ["7", "7"]
    assert leftovers(forked.name) == []
