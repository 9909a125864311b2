"""What a batch that nobody watches lives through: many tasks, lost sandboxes, money that runs out, and its own end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.batching import SCRIPTS, WRITE, Bench, ended, left_behind, plain

from dockwright.batch import load_order
from dockwright.batch.control import ask
from dockwright.events import RunStarted, Usage
from dockwright.journal import read
from dockwright.prices import price
from dockwright.sandbox.address import find_engine
from dockwright.sandbox.engine import connect
from dockwright.testing.scripted_api import Script, ScriptedApi, Turn, tool_use

COSTLY = {"input_tokens": 500, "output_tokens": 20_000}
SLOW: Script = (Turn([WRITE]), Turn([tool_use("Bash", {"command": "sleep 5"})]), *SCRIPTS["works"][1:])
PING = tool_use("Bash", {"command": "redis-cli -u $REDIS_URL ping > made.txt"})
MORE: dict[str, Script] = {
    **SCRIPTS,
    "pings": (Turn([PING]), *SCRIPTS["works"][1:]),
    "slow": SLOW,
    "costly": [
        Turn([tool_use("Bash", {"command": f"echo {number} >> made.txt"})], usage=COSTLY) for number in range(10)
    ],
    "short": ["Nothing is to be done.", "Really."],
}


@pytest.mark.bubblewrap
async def test_two_hundred_tasks_come_to_their_ends_in_the_order_of_the_list(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        names = [f"t{number}" for number in range(200)]
        few = {"deliver": "none", "check": []}
        bench.write_tasks(*((name, "works" if number % 20 == 0 else "short", few) for number, name in enumerate(names)))

        code, _, err = await bench.run("-j", "12")

        lines = bench.results()
        assert (code, err, [line.id for line in lines]) == (4, "", names)
        assert {line.status for line in lines[::20]} == {"done"}
        assert {line.status for line in lines if line not in lines[::20]} == {"unverified"}
        assert sum(bench.asked().values()) == 10 * 3 + 190 * 2
        assert not list(bench.out.glob(".snapshots/*"))


@pytest.mark.docker
async def test_a_task_goes_on_in_a_new_sandbox_where_it_lost_one_and_other_ends_are_not_tried_again(
    tmp_path: Path,
) -> None:
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(("lost", "slow", {}), ("refused", "refuses", {}), ("failed", "works", {"check": ["false"]}))
        process = await bench.start("-j", "3")
        await bench.until_asked(lost=2)
        await asyncio.sleep(0.5)
        events = read(bench.out / "lost/journal.jsonl")
        started = next(event for event in events if isinstance(event, RunStarted))
        client = connect()
        await asyncio.to_thread(client.containers.get(f"dockwright-{started.run}").kill)
        client.close()

        code, out, err = await ended(process)

        assert (code, err) == (6, "")
        assert {line.id: (line.status, line.attempt, line.resumed) for line in bench.results()} == {
            "lost": ("verified", 2, 1), "refused": ("refused", 1, 0), "failed": ("checks_failed", 1, 0),
        }  # fmt: skip
        assert [line.run for line in bench.results() if line.id == "lost"] == [started.run]
        assert bench.asked()["lost"] == len(SLOW)
        assert "[again/3] lost" in out
        assert left_behind([line.run for line in bench.results()]) == []


@pytest.mark.docker
async def test_many_tasks_with_services_make_no_network_and_leave_nothing(tmp_path: Path) -> None:
    """On an engine that is named: nothing is looked for where the environment says that one is."""
    client, began = connect(), int(time.time())
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(tmp_path, "docker", api)
        names = [f"t{number}" for number in range(12)]
        few = {"deliver": "patch", "check": [], "services": ["redis"]}
        bench.write_tasks(*((name, "pings", few) for name in names))
        named = ("--on", f"docker:{find_engine(os.environ).url}")
        code, _, err = await ended(await bench.start("-j", "6", *named, DOCKER_HOST=f"unix://{tmp_path}/none.sock"))

        lines = bench.results()
        assert (code, err, [(line.id, line.status) for line in lines]) == (0, "", [(name, "done") for name in names])
        assert all("+PONG" in (bench.out / str(line.patch)).read_text() for line in lines)
        made = client.events(
            since=began, until=int(time.time()) + 1, filters={"type": "network", "event": "create"}, decode=True
        )
        others = ("test-", "gc-")  # of tests that run at the same time
        networks = [event["Actor"]["Attributes"]["name"] for event in made]
        assert [name for name in networks if not name.startswith(others)] == []
        assert left_behind([line.run for line in lines]) == []
    client.close()


@pytest.mark.docker
async def test_a_command_that_forks_for_ever_and_one_that_does_not_listen_end_in_time(tmp_path: Path) -> None:
    bomb = tool_use("Bash", {"command": "bomb() { bomb | bomb & }; bomb; sleep 60", "timeout": 1500})
    deaf = tool_use("Bash", {"command": "trap '' TERM INT; while true; do sleep 1; done"})
    scripts: dict[str, Script] = {
        **MORE,
        "bomb": (Turn([bomb]), *SCRIPTS["works"]),
        "deaf": (Turn([WRITE]), Turn([deaf])),
    }
    async with ScriptedApi(scripts=scripts) as api:
        bench = Bench(tmp_path, "docker", api)
        bench.write_tasks(("bomb", "bomb", {}), ("deaf", "deaf", {"minutes": 0.1}), ("other", "works", {}))
        async with asyncio.timeout(120):
            code, _, err = await bench.run("-j", "3")

        assert (code, err) == (5, "")
        assert bench.statuses() == {"bomb": "verified", "deaf": "limit", "other": "verified"}
        assert left_behind([line.run for line in bench.results()]) == []


@pytest.mark.bubblewrap
async def test_the_budget_of_a_batch_is_not_exceeded_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    one = price("claude-haiku-5-5", Usage(**COSTLY))
    assert one is not None
    cap = one * 12
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        bench.write_tasks(*((f"t{number}", "costly", {"check": []}) for number in range(6)))

        code, _, err = await bench.run("-j", "3", "--total-budget", f"{cap:.6f}")

        spent = len(api.requests)
        assert (code, err) == (5, "")
        assert spent * one <= cap
        assert spent >= 6
        assert set(bench.statuses().values()) == {"limit"}
        assert any(line.patch and (bench.out / line.patch).read_bytes() for line in bench.results())
        assert "go on with a higher limit" in bench.results()[0].reason

        again = ("batch", "out", "--resume", "--only", "limit", "-j", "3")
        code, _, err = await bench.run(command=again)
        assert (code, err, len(api.requests)) == (5, "", spent)

        code, _, err = await bench.run("--total-budget", f"{cap * 10:.6f}", command=again)
        assert (code, err, set(bench.statuses().values())) == (4, "", {"unverified"})
        assert set(bench.requests()[spent:]).isdisjoint(bench.requests()[:spent])


async def test_a_budget_is_refused_before_the_first_call_where_a_price_is_not_known(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        bench.write_tasks(("a", "short", {"model": "local-model"}), ("b", "short", {}))

        code, _, err = await bench.run("--total-budget", "5")

        assert (code, api.requests) == (2, [])
        assert "a: a limit on money was set, but the price of local-model is not known." in err


@pytest.mark.bubblewrap
async def test_a_folder_goes_on_by_itself_with_the_tasks_that_are_named(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        bench.write_tasks(
            ("works", "works", {}), ("dies", "dies-once", {}), ("silent", "silent", {}), ("refused", "refuses", {})
        )
        code, _, _ = await bench.run("-j", "4")
        assert (code, bench.statuses()["dies"]) == (7, "model_error")
        asked = bench.asked()
        (bench.folder / "tasks.jsonl").unlink()
        (bench.folder / "smith.md").unlink()

        code, _, err = await bench.run("--only", "infra", "--predictions", command=("batch", "out", "--resume"))

        assert (code, err) == (6, "")
        assert bench.statuses() == {
            "works": "verified", "dies": "verified", "silent": "unverified", "refused": "refused",
        }  # fmt: skip
        assert bench.asked() - asked == {"dies": 3}
        told = [json.loads(line) for line in (bench.out / "predictions.jsonl").read_text().splitlines()]
        assert [each["instance_id"] for each in told] == ["works", "dies", "silent", "refused"]
        assert "+made" in told[1]["model_patch"]
        assert set(told[1]) == {"instance_id", "model_name_or_path", "model_patch"}

        code, _, err = await bench.run("--only", "unlucky", command=("batch", "out", "--resume"))
        assert (code, "--only: there is no class 'unlucky'; there are failed, infra," in err) == (2, True)
        code, _, err = await bench.run(command=("batch", "repo", "--resume"))
        assert (code, "is not the folder of a batch" in err) == (2, True)


@pytest.mark.bubblewrap
async def test_a_running_batch_is_steered_from_another_shell(tmp_path: Path) -> None:
    """In a folder whose path is longer than the address of a socket may be."""
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(deep, "bubblewrap", api)
        bench.write_tasks(("a", "stalls", {}), ("b", "works", {}), ("c", "works", {}), ("d", "works", {}))

        async def ctl(*words: str) -> tuple[int | None, str, str]:
            return await bench.run(command=("ctl", words[0], "out", *words[1:]))

        async def until(id_: str, state: str) -> None:
            async with asyncio.timeout(60):
                while True:
                    listed: Any = (await ask(bench.out, {"do": "list"}))["tasks"]
                    if (id_, state) in [(task["id"], task["state"]) for task in listed]:
                        return
                    await asyncio.sleep(0.05)

        assert (await ctl("list"))[0] == 2
        process = await bench.start("-j", "1")
        await bench.until_asked(a=2)
        assert (bench.out / "ctl.sock").stat().st_mode & 0o777 == 0o600

        code, said, err = await ctl("list")
        assert (code, err) == (0, "")
        assert said.splitlines()[0] == "3 waiting · 1 running · 1 at once · $0.0000 spent"
        assert [line.split()[:2] for line in said.splitlines()[2:]] == [
            ["a", "running"], ["b", "waiting"], ["c", "waiting"], ["d", "waiting"],
        ]  # fmt: skip
        assert "paused" in (await ctl("pause"))[1]
        assert (await ctl("jobs", "2"))[1].startswith("3 waiting · 1 running · 2 at once · paused")
        assert (await ctl("cancel", "d"))[0] == 0
        await ctl("go")
        await until("b", "verified")
        await until("c", "verified")
        assert bench.asked()["d"] == 0
        assert "reserved of $9.00" in (await ctl("budget", "9"))[1]
        assert load_order(bench.out).budget == 9
        assert (await ctl("requeue", "b"))[0] == 0
        await until("b", "verified")
        assert await ctl("requeue", "a") == (2, "", "error: a is running or waits already. Cancel it first.\n")
        assert await ctl("cancel", "zzz") == (2, "", "error: zzz is not running and does not wait.\n")
        assert (await ctl("cancel", "a"))[0] == 0
        code, _, err = await ended(process)

        assert (code, err) == (130, "")
        assert bench.statuses() == {"a": "interrupted", "b": "verified", "c": "verified"}
        assert bench.asked() == {"a": 2, "b": 6, "c": 3}
        assert not (bench.out / "ctl.sock").exists()


@pytest.mark.bubblewrap
async def test_the_same_tasks_give_the_same_results_and_patches(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=MORE) as api:
        found = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            bench = Bench(tmp_path / name, "bubblewrap", api)
            bench.write_tasks(("a", "works", {}), ("b", "silent", {}))
            assert (await bench.run("-j", "2"))[0] == 4
            found.append([(plain(line), bench.patch(line)) for line in bench.results()])
        assert found[0] == found[1]


@pytest.mark.bubblewrap
async def test_whenever_a_batch_is_killed_no_answer_that_was_written_down_is_asked_for_again(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=MORE) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        bench.write_tasks(*((f"t{number}", "works", {}) for number in range(6)))
        again = []
        for wanted in (1, 3, 0):
            written, before = bench.answered(), len(api.requests)
            process = await bench.start("-j", "2")
            if wanted:
                async with asyncio.timeout(60):
                    while not bench.out.joinpath("results.jsonl").exists() or len(bench.results()) < wanted:
                        await asyncio.sleep(0.01)
                process.send_signal(signal.SIGKILL)
            await ended(process)
            again += [(id_, turn) for id_, turn in bench.requests()[before:] if turn < written[id_]]

        assert again == []
        assert [line.id for line in bench.results()] == [f"t{number}" for number in range(6)]
        assert {line.status for line in bench.results()} <= {"verified", "unverified"}  # one may have been in its call
