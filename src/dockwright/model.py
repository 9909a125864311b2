"""One assistant message at a time from the Messages API: streamed, retried, cached, priced.

The `anthropic` package takes long to import and so is imported when first needed, in a thread. The SDK's own retries
are off: it misses the failures inside a stream, and retries live in one place. Once a tool call was handed out, a
broken stream is not tried again; what came so far is the answer, stopped by "cut".
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Self

from pydantic_core import to_json

from dockwright.config import ANTHROPIC_URL, ModelSettings
from dockwright.connection import Connection, credential_errors
from dockwright.errors import ConfigError, ContextFull, ModelError, ToolError
from dockwright.events import JsonObject, Usage
from dockwright.gate import Gate, Passage
from dockwright.incoming import Incoming, OnBlock, OnDelta
from dockwright.prices import price, window

if TYPE_CHECKING:
    from anthropic import APIStatusError

OnRetry = Callable[[int, str, float], Awaitable[None]]
_LONGEST_WAIT = 60.0
_LONGEST_BACKOFF = 32.0
_STATUS = {  # of error types, for errors that come inside a stream whose status was 200
    "invalid_request_error": 400, "exceed_context_size_error": 400, "authentication_error": 401, "billing_error": 402,
    "permission_error": 403, "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429,
    "overloaded_error": 529,
}  # fmt: skip
_TOO_LONG = re.compile(r"too long|too large|context|exceed", re.IGNORECASE)
_NO_ADAPTIVE = re.compile(r"claude-(?:[123]\b|instant|(?:opus|sonnet|haiku)-4(?:-[0-5]\b|-20|$))")  # as of 2026-11
_PRICED_BY = {"anthropic": "anthropic", "bedrock": "aws", "vertex": "google"}


@dataclass(frozen=True)
class Answer:
    """One assistant message. `stop_reason` is the API's, or "cut". `stop_details` say why a model refused. `cost` is in
    US dollars, None where the price is unknown. `seconds` includes failed attempts."""

    id: str
    model: str
    content: tuple[JsonObject, ...]
    stop_reason: str
    stop_details: JsonObject
    usage: Usage
    cost: float | None
    seconds: float


class _AttemptError(Exception):
    """An attempt failed in a way that may pass. `wait` is how long the server asks to wait, in seconds; `busy` is that
    it has too much to do, `unsent` that it did nothing and so will charge nothing."""

    def __init__(self, reason: str, wait: float = 0.0, *, busy: bool = False, unsent: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.busy, self.unsent = wait, busy, unsent


class Model:
    """A model behind an API. One may serve any number of sessions at once."""

    def __init__(
        self,
        settings: ModelSettings,
        name: str | None = None,
        *,
        gate: Gate | None = None,
        connection: Connection | None = None,
    ) -> None:
        """`name` is what a persona or a flag asks for; without it, or with "inherit", it is the configured model.
        `gate` is asked before each request; `connection` is one that others use, too, and is left open.
        Raises ConfigError where it has no id, or where there is no key for it."""
        self.name = settings.model_id(name)
        keyless = settings.api_key is None and settings.auth_token is None
        if keyless and settings.provider == "anthropic" and settings.is_anthropic:
            raise ConfigError(
                f"There is no key for the model API. Set {settings.api_key_env} (or ANTHROPIC_AUTH_TOKEN), or name "
                "another server with ANTHROPIC_BASE_URL."
            )
        self._settings = settings
        self._gate = gate or Gate(None)
        self._shared = connection is not None
        self._connection = connection or Connection(settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if not self._shared:
            await self._connection.close()

    @property
    def is_priced(self) -> bool:
        return self.price(Usage()) is not None

    async def warm(self) -> None:
        """Load what takes long to load, in a thread, so that it can be done while something else starts."""
        await self._connection.client()

    async def answer(
        self,
        *,
        system: Sequence[JsonObject],
        tools: Sequence[JsonObject],
        messages: Sequence[JsonObject],
        on_delta: OnDelta = lambda kind, text: None,
        on_block: OnBlock = lambda block: None,
        on_retry: OnRetry | None = None,
        used_ids: Collection[str] = (),
    ) -> Answer:
        """The model's next message. `on_delta` gets text as it comes, `on_block` each complete block in its order,
        `on_retry` the attempt, the reason and the seconds until the next one, which starts the message anew. A call
        whose id is one of `used_ids` gets another. Raises ModelError where trying again cannot help or did not."""
        began = time.monotonic()
        request = self._request(system, tools, messages)
        turned_away = 0
        for attempt in count(1):
            incoming = Incoming(on_delta, on_block, used_ids)
            try:
                async with self._gate.passage(request, self.price) as passage:
                    await self._attempt(request, incoming, passage)
                break
            except (_AttemptError, ModelError) as failure:
                if incoming.complete:
                    break
                if incoming.has_call:
                    incoming.stop_reason = "cut"
                    break
                if isinstance(failure, ModelError):
                    raise
                paced = failure.busy and self._gate.pace is not None  # then the gate knows how long to wait
                turned_away += paced
                if attempt - turned_away == self._settings.attempts:
                    raise ModelError(
                        f"The model API at {self._where} failed {attempt} times, at last: {failure}. "
                        "What was done so far is kept; try again later."
                    ) from failure
                delay = max(min(failure.wait, _LONGEST_WAIT), self._backoff(attempt - turned_away))
                if on_retry is not None:
                    await on_retry(attempt, str(failure), delay)
                if not paced:
                    await asyncio.sleep(delay)
        return Answer(
            id=incoming.id,
            model=incoming.model or self.name,
            content=tuple(incoming.blocks),
            stop_reason=str(incoming.stop_reason),
            stop_details=incoming.stop_details,
            usage=incoming.usage,
            cost=passage.cost if incoming.complete else self.price(incoming.usage, incoming.model),
            seconds=time.monotonic() - began,
        )

    async def search(
        self, query: str, allowed_domains: Sequence[str] = (), blocked_domains: Sequence[str] = ()
    ) -> tuple[dict[str, str], ...]:
        """What the API's own web search finds, as title and url. Raises ToolError where it cannot."""
        tool: JsonObject = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
        if allowed_domains:
            tool["allowed_domains"] = list(allowed_domains)
        if blocked_domains:
            tool["blocked_domains"] = list(blocked_domains)
        ask: JsonObject = {"type": "text", "text": f"Perform a web search for the query: {query}"}
        try:
            answer = await self.answer(system=(), tools=(tool,), messages=({"role": "user", "content": [ask]},))
        except ModelError as error:
            raise ToolError(f"Web search is unavailable: {error}") from error
        found: Any = [block.get("content") for block in answer.content if block["type"] == "web_search_tool_result"]
        failed = [content.get("error_code") for content in found if isinstance(content, dict)]
        if failed or not found:
            raise ToolError(
                f"Web search is unavailable: the model API did not search ({failed or answer.stop_reason})."
            )
        return tuple({"title": hit["title"], "url": hit["url"]} for content in found for hit in content)

    def price(self, usage: Usage, model: str = "") -> float | None:
        """US dollars for the usage; `model` is the name that the server gave, where it has a price."""
        by = _PRICED_BY[self._settings.provider]
        given = price(model, usage, by) if model else None
        return given if given is not None else price(self.name, usage, by)

    @property
    def window(self) -> int | None:
        """How many tokens a conversation may have, answers included; None where nobody says."""
        return self._settings.context_window or window(self.name, _PRICED_BY[self._settings.provider])

    def _request(
        self, system: Sequence[JsonObject], tools: Sequence[JsonObject], messages: Sequence[JsonObject]
    ) -> dict[str, Any]:
        settings = self._settings
        ours = settings.is_anthropic and not _NO_ADAPTIVE.search(self.name)
        if settings.caching:
            system, messages = _mark(system), _mark_messages(messages)
        request: dict[str, Any] = {"model": self.name, "max_tokens": settings.max_tokens, "messages": messages}
        request["stream"] = True
        if system:
            request["system"] = system
        if tools:
            request["tools"] = tools
        if ours if settings.thinking is None else settings.thinking:
            request["thinking"] = {"type": "adaptive", "display": "summarized"}
            if settings.effort is not None:
                request["output_config"] = {"effort": settings.effort}
        return request

    def _backoff(self, attempt: int) -> float:
        longest = min(self._settings.backoff_seconds * 2.0 ** min(attempt - 1, 10), _LONGEST_BACKOFF)
        return longest * random.uniform(0.75, 1.0)  # noqa: S311 - spreads retries, nothing secret

    async def _attempt(self, request: Mapping[str, Any], incoming: Incoming, passage: Passage) -> None:
        """Send the request, take in what comes, and tell the gate how it went."""
        try:
            async with aclosing(self._events({**request, "max_tokens": passage.max_tokens}, passage)) as events:
                async for event in events:
                    incoming.take(event)
        except _AttemptError as failure:
            if failure.busy:
                passage.turn_away(failure.wait)
            if failure.unsent:
                passage.refuse()
            raise
        except ModelError:
            passage.refuse()
            raise
        finally:
            if incoming.complete:
                passage.settle(incoming.usage, self.price(incoming.usage, incoming.model))
        if not incoming.complete:
            raise _AttemptError("the stream ended before the message did")

    async def _events(self, request: Mapping[str, Any], passage: Passage) -> AsyncGenerator[dict[str, Any], None]:
        """The events of one attempt. Raises _AttemptError where another may help, otherwise ModelError."""
        client = await self._connection.client()
        import anthropic
        import httpx2

        # Not by `messages.create`, which copies the whole request and makes an object of each event. A cloud's client
        # needs the request as it is, because it puts some of it elsewhere.
        plain = self._settings.provider == "anthropic"
        sent: dict[str, Any] = {"content": to_json(request)} if plain else {"body": request}
        sent |= {"cast_to": object, "stream": True, "stream_cls": anthropic.AsyncStream[object]}
        try:
            async with await client.post("/v1/messages", **sent) as stream:
                passage.headers = stream.response.headers
                try:
                    async for event in stream:
                        yield event
                except (ValueError, RecursionError) as error:
                    raise _AttemptError(f"the stream was not readable: {error}") from error
        except anthropic.APIStatusError as error:
            passage.headers = error.response.headers
            raise self._judged(error) from error
        except (anthropic.APITimeoutError, httpx2.TimeoutException) as error:
            raise _AttemptError(f"the server was silent for {self._settings.stall_seconds:g} s") from error
        except (anthropic.APIError, httpx2.HTTPError) as error:
            unsent = isinstance(error.__cause__, httpx2.ConnectError)
            raise _AttemptError(f"the connection broke: {error.__cause__ or error}", unsent=unsent) from error
        except credential_errors(self._settings.provider) as error:
            raise ConfigError(
                f"{self._settings.provider} gave no credentials: {error}. Log in with the tool of the cloud itself."
            ) from error

    def _judged(self, error: APIStatusError) -> Exception:
        kind = str(error.type or "")
        status = error.status_code if error.status_code >= 300 else _STATUS.get(kind, 500)
        said = f"{status} {error.api_message or kind or _first_line(error.message)}"
        again = error.response.headers.get("x-should-retry", "")
        if again != "false" and (status in (408, 409, 429) or status >= 500):
            wait = _retry_after(error.response.headers.get("retry-after", ""))
            return _AttemptError(said, wait, busy=status in (429, 529), unsent=error.status_code >= 300)
        kind_of = ContextFull if status == 413 or (status == 400 and _TOO_LONG.search(said)) else ModelError
        return kind_of(f"The model API at {self._where} answered {said}. {self._advice(status, said)}")

    @property
    def _where(self) -> str:
        return self._settings.base_url or (
            ANTHROPIC_URL if self._settings.provider == "anthropic" else self._settings.provider
        )

    def _advice(self, status: int, said: str) -> str:
        key = f"Set {self._settings.api_key_env} (or ANTHROPIC_AUTH_TOKEN)"
        match status:
            case 401:
                return f"{key} to a key that is valid there."
            case 403:
                return f"{key} to a key that may use {self.name}, or choose another model with --model."
            case 402:
                return "Check the balance and the spending limit of the account."
            case 404:
                return f"Check the model name {self.name} and the base URL; --model sets another model."
            case 413:
                return _SHORTEN
            case 400 if _TOO_LONG.search(said):
                return _SHORTEN
            case 400:
                return "If it names a setting such as thinking or effort, turn that off under [model] in the settings."
            case _ if status < 400:
                return (
                    "Redirects are not followed, since the key would travel along; set the final address as base URL."
                )
        return "Trying again would not help."


_SHORTEN = "The conversation no longer fits. Split the task, or start a new session on what was done so far."


def _mark(blocks: Sequence[JsonObject]) -> list[JsonObject]:
    if not blocks:
        return []
    last: JsonObject = {**blocks[-1], "cache_control": {"type": "ephemeral"}}
    return [*blocks[:-1], last]


def _mark_messages(messages: Sequence[JsonObject]) -> list[JsonObject]:
    """Cache up to the newest user message, and up to the one before it: that is where the last request put its mark,
    and looking back from the new one alone misses it when the turn had more than 20 blocks."""
    marked = list(messages)
    users = (index for index in reversed(range(len(marked))) if marked[index]["role"] == "user")
    for index in islice(users, 2):
        content: Any = marked[index]["content"]
        cached: Any = _mark(content)
        marked[index] = {**marked[index], "content": cached}
    return marked


def _retry_after(value: str) -> float:
    """Seconds, from a number or a date; 0 where it is neither."""
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return 0.0


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:200]
