"""What holds a request back: an API that turns it away, and money that is not enough for it."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from dockwright.config import ModelSettings
from dockwright.connection import Connection
from dockwright.errors import LimitReached, ModelError
from dockwright.events import JsonObject, Usage
from dockwright.gate import Gate
from dockwright.gate.pace import Lane, Pace
from dockwright.gate.purse import Account, Purse
from dockwright.model import Model
from dockwright.testing.scripted_api import Fault, Script, ScriptedApi, Turn, text

NAME = "claude-haiku-5-5"
BUSY = Fault("http", status=429, error="rate_limit_error", headers={"retry-after": "1"})
OVERLOADED = Fault("http", status=529)
CUT = Fault("cut", at="text")


def settings(api: ScriptedApi, **more: Any) -> ModelSettings:
    values = {"backoff_seconds": 0.01, "attempts": 3, "max_tokens": 4000} | more
    return ModelSettings(base_url=api.url, api_key=SecretStr("sk"), name=NAME, **values)


def said(words: str) -> JsonObject:
    return {"role": "user", "content": [{"type": "text", "text": words}]}


async def ask(model: Model, words: str, turns: int = 1) -> None:
    """A conversation of a few turns, each on top of those before."""
    messages = [said(words)]
    for _ in range(turns):
        answer = await model.answer(system=(), tools=(), messages=messages)
        messages += [{"role": "assistant", "content": list(answer.content)}, said("Go on.")]


async def test_a_request_that_is_turned_away_waits_and_never_fails_for_it() -> None:
    """More refusals than attempts are allowed, for each of 30 tasks; then overload, then cut streams."""
    faults = (BUSY, *(OVERLOADED,) * 4, CUT)
    script: Script = [Turn([text("First.")]), Turn([text("Second.")], faults=faults), *["Yes."] * 3]
    async with ScriptedApi(scripts={"hard": script, "easy": ["Yes."]}) as api:
        config = settings(api)
        connection, pace = Connection(config), Pace(backoff=0.01)
        models = [Model(config, gate=Gate(pace), connection=connection) for _ in range(30)]
        scripts = ["hard" if number < 4 else "easy" for number in range(30)]
        async with asyncio.timeout(60):
            prompts = [f"{number} [[script:{name}]]" for number, name in enumerate(scripts)]
            await asyncio.gather(*(ask(model, prompt, 5) for model, prompt in zip(models, prompts, strict=True)))
        await connection.close()
        needed = 30 * 5
        turned_away = 4 * len(faults)
        assert needed + turned_away == len(api.requests)
        lane = pace.lane(NAME)
        assert (lane.under_way, lane.is_paused) == (0, False)


async def test_while_the_api_turns_requests_away_only_single_ones_try_it() -> None:
    """A server that takes nothing for a second: what is asked of it in vain stays a small part of all requests."""
    until = 0.0
    tried = 0

    class Closed(ScriptedApi):
        def _pick(self, request: Any) -> tuple[Turn, Fault | None, int]:
            nonlocal tried
            turn, _, number = super()._pick(request)
            closed = time.monotonic() < until
            tried += closed
            return turn, Fault("http", status=529) if closed else None, number

    async with Closed(["Yes."] * 9) as api:
        config = settings(api)
        connection, pace = Connection(config), Pace(start=4, backoff=0.1)
        models = [Model(config, gate=Gate(pace), connection=connection) for _ in range(40)]
        await ask(models[0], "warm")
        until = time.monotonic() + 1.0
        async with asyncio.timeout(60):
            await asyncio.gather(*(ask(model, str(number), 5) for number, model in enumerate(models)))
        await connection.close()
        assert len(api.requests) == 1 + 40 * 5 + tried
        assert 1 <= tried <= 20  # 10 % of what was needed
        assert pace.lane(NAME).limit > 1


async def test_retry_after_and_used_up_limits_hold_up_all_others() -> None:
    lane = Pace(backoff=0.01).lane(NAME)
    began = await lane.enter()
    lane.leave(began, 0.3, None, answered=False)
    reset = (datetime.now(UTC) + timedelta(seconds=0.6)).isoformat()
    left = time.monotonic()
    began = await lane.enter()
    first = time.monotonic() - left
    headers = {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": reset}
    lane.leave(began, None, headers, answered=True)
    await lane.enter()
    assert (first >= 0.29, time.monotonic() - left >= 0.59) == (True, True)


async def test_the_pace_doubles_until_something_is_turned_away_and_then_is_halved() -> None:
    lane = Lane(NAME, 4, 60, 0.0)
    for _ in range(3):
        lane.leave(await lane.enter(), None, None, answered=True)
    assert lane.limit == 7
    began = [await lane.enter() for _ in range(6)]
    lane.leave(began[0], 0.0, None, answered=False)
    lane.leave(began[1], 0.0, None, answered=False)  # was sent before the cut, so it is no second reason
    assert lane.limit == 3
    lane.leave(began[2], None, None, answered=True)
    assert lane.limit == pytest.approx(3 + 1 / 3)


async def test_an_api_that_turns_everything_away_for_too_long_is_told() -> None:
    lane = Lane(NAME, 4, 0.2, 0.05)
    lane.leave(await lane.enter(), 30.0, None, answered=False)
    async with asyncio.timeout(10):
        with pytest.raises(ModelError, match="turned claude-haiku-5-5 away for"):
            await lane.enter()


@pytest.mark.parametrize("jobs", [1, 8, 64])
async def test_a_purse_is_never_overspent_by_the_servers_own_count(jobs: int, tmp_path: Path) -> None:
    """The answers would cost ten times the cap. What the server answered is charged in full, cut streams included."""
    usage = {"input_tokens": 600, "output_tokens": 3000}
    script = [Turn([text("word " * 40)], usage=usage, faults=(CUT,) if turn == 2 else ()) for turn in range(6)]
    async with ScriptedApi(script) as api:
        config = settings(api)
        connection, account = Connection(config), Account(tmp_path / "spent")
        counted = Model(config)
        one = counted.price(Usage(**usage))
        assert one is not None
        cap = one * 64 * 6 / 10
        purse = Purse(cap, note=account.note)
        places = asyncio.Semaphore(jobs)

        async def task(number: int) -> str:
            async with places:
                try:
                    await ask(Model(config, gate=Gate(None, purse), connection=connection), f"{number}", 6)
                except LimitReached:
                    return "limit"
                return "done"

        async with asyncio.timeout(60):
            ends = await asyncio.gather(*(task(number) for number in range(64)))
        await connection.close()
        account.close()
        charged = one * len(api.requests)
        assert charged <= cap
        assert charged >= cap / 4  # the cap is used, not only kept
        assert set(ends) == {"limit"} if jobs == 64 else "limit" in ends
        assert purse.reserved == 0
        assert Account(tmp_path / "spent").spent == pytest.approx(purse.spent)


async def test_an_answer_gets_shorter_before_a_purse_refuses_it() -> None:
    async with ScriptedApi(["Yes."]) as api:
        config = settings(api, max_tokens=30_000)
        model = Model(config)
        million = model.price(Usage(output_tokens=1_000_000))
        assert million is not None
        purse = Purse(million / 1_000_000 * 9000)
        async with Model(config, gate=Gate(None, purse)) as model:
            await ask(model, "short")
            assert 2048 <= api.requests[0].body["max_tokens"] < 9000
            purse.cap = purse.spent + million / 1_000_000 * 500
            with pytest.raises(LimitReached, match=r"limit of \$.* was reached.*higher limit"):
                await ask(model, "short")
        assert len(api.requests) == 1


async def test_a_request_that_was_never_sent_costs_nothing() -> None:
    pace, purse = Pace(start=1, patience=0.1, backoff=0.05), Purse(1.0)
    pace.lane(NAME).leave(await pace.lane(NAME).enter(), 30.0, None, answered=False)
    request = {"model": NAME, "max_tokens": 1000, "messages": [said("x")]}
    with pytest.raises(ModelError):
        async with Gate(pace, purse).passage(request, lambda usage: usage.output_tokens / 1_000_000):
            pass
    assert (purse.spent, purse.reserved) == (0.0, 0.0)


async def test_a_call_waits_for_what_others_hold_and_what_is_not_used_is_given_back() -> None:
    purse = Purse(1.0)
    first = await purse.reserve(0.6, 0.0, 10, 1)
    second = asyncio.create_task(purse.reserve(0.6, 0.0, 10, 1))
    await asyncio.sleep(0.01)
    assert not second.done()
    purse.settle(first, 0.1)
    assert (await second).usd == 0.6
    assert (purse.spent, purse.reserved) == (0.1, 0.6)


async def test_a_call_under_way_when_the_process_was_killed_counts_with_all_it_could_cost(
    tmp_path: Path,
) -> None:
    account = Account(tmp_path / "spent")
    purse = Purse(1.0, note=account.note)
    purse.settle(await purse.reserve(0.3, 0.0, 1, 1), 0.1)
    await purse.reserve(0.25, 0.0, 1, 1)
    with (tmp_path / "spent").open("a") as file:
        file.write('{"call": "torn')
    assert Account(tmp_path / "spent").spent == pytest.approx(0.35)
