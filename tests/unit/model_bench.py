"""A model client with the scripted API behind it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from dockwright.config import ModelSettings
from dockwright.events import JsonObject
from dockwright.model import Answer, Model
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

HI: list[JsonObject] = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
READ = tool_use("Read", {"file_path": "a"}, id="toolu_1")
EDIT = tool_use("Edit", {"file_path": "b"}, id="toolu_2")
USAGE = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}


class Watched:
    """An answer with what was told on the way."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.blocks: list[JsonObject] = []
        self.retries: list[tuple[int, str, float]] = []

    async def ask(self, model: Model, messages: list[JsonObject] = HI) -> Answer:
        return await model.answer(
            system=[],
            tools=[],
            messages=messages,
            on_delta=lambda kind, words: self.said.append((kind, words)),
            on_block=self.blocks.append,
            on_retry=self._retry,
        )

    async def _retry(self, attempt: int, reason: str, delay: float) -> None:
        self.retries.append((attempt, reason, delay))


def settings(api: ScriptedApi, **more: Any) -> ModelSettings:
    return ModelSettings(**{"base_url": api.url, "api_key": SecretStr("k"), "backoff_seconds": 0.001, **more})


@asynccontextmanager
async def served(turn: Turn | str, **more: Any) -> AsyncIterator[tuple[Model, ScriptedApi]]:
    async with ScriptedApi([turn]) as api, Model(settings(api, **more)) as model:
        yield model, api
