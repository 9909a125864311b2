"""A run with real databases beside it: at the first turn, at the last, in the proof, and through the death of one."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.running import REPORT, Desk, leftovers

from dockwright.result import RunResult
from dockwright.sandbox.engine import connect
from dockwright.services.kinds import IMAGE
from dockwright.testing.scripted_api import Script, ScriptedApi, Turn, tool_use

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


def result(desk: Desk) -> RunResult:
    return RunResult.model_validate_json((desk.runs[0] / "report.json").read_text())


def bash(command: str) -> Turn:
    return Turn([tool_use("Bash", {"command": command})])


async def killed(
    desk: Desk, script: Script, service: str, *arguments: str, first: Callable[[], object] = bool
) -> tuple[int, str]:
    """A run whose service is killed from outside in its second turn."""
    async with ScriptedApi(script) as api:
        process = await desk.start(api, *desk.arguments("docker", *arguments))
        async with asyncio.timeout(240):
            while len(api.requests) < 2:
                await asyncio.sleep(0.1)
            first()
            client = connect()
            client.containers.get(f"dockwright-{desk.runs[0].name}-{service}").kill()
            client.close()
            output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


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


async def test_a_database_that_dies_is_told_of_and_goes_on_with_its_data_to_a_verified_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    since = 'psql -qAtX "$DATABASE_URL" -c "SELECT pg_postmaster_start_time()"'
    outage = f"until {since} > /tmp/now 2> /tmp/why && ! cmp -s /tmp/before /tmp/now; do sleep 0.1; done"
    count = 'psql -qAtX "$DATABASE_URL" -c "SELECT count(*) FROM orders"'
    script: Script = [bash(f"{FILL} && {since} > /tmp/before"), bash(outage), bash(count), Turn([REPORT]), "Done."]
    code, said = await killed(desk, script, "postgres", "--services", "postgres,redis", "--check", "sh check.sh")
    assert (code, result(desk).status) == (0, "verified"), said
    told = "\n".join(results(desk.runs[0])[1:])
    assert "The service postgres died: it ended with exit code 137" in told
    assert results(desk.runs[0])[2].split()[:1] == ["7"]
    assert "postgres died" in said
    assert leftovers(desk.runs[0].name) == []


async def test_a_database_that_cannot_be_brought_back_ends_the_run_as_a_lost_sandbox_with_its_work(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    image = f"dockwright-test/redis:{uuid.uuid4().hex}"
    client = connect()
    client.images.get(IMAGE).tag(image)
    set_it = 'redis-cli -u "$REDIS_URL" SET orders 7 && echo "echo hello" > app.sh'
    outage = 'while redis-cli -u "$REDIS_URL" PING; do sleep 0.1; done > /dev/null 2>&1'
    script: Script = [bash(set_it), bash(outage), Turn([REPORT]), "Done."]
    try:
        code, said = await killed(
            desk, script, "redis", "--services", f"redis={image}", "--check", "sh app.sh",
            first=lambda: client.images.remove(image),
        )  # fmt: skip
    finally:
        for found in client.images.list(name=image):
            found.remove()
        client.close()
    assert (code, result(desk).status) == (8, "sandbox_lost"), said
    why = rf"The service redis died \(it ended with exit code 137.*and cannot be brought back\. .* no image {image}"
    assert re.search(why, result(desk).reason), result(desk).reason
    assert desk.git("show", f"dockwright/{desk.runs[0].name}:app.sh") == "echo hello\n"
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
