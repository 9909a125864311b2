"""The SDK's client for the model API: made once, in a thread, and given everything, so that it looks for nothing."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dockwright.bounded import HEADERS, bound
from dockwright.config import ANTHROPIC_URL, ModelSettings
from dockwright.errors import ConfigError

if TYPE_CHECKING:
    import httpx2
    from anthropic import AsyncAnthropic, AsyncAnthropicBedrock, AsyncAnthropicVertex

    Client = AsyncAnthropic | AsyncAnthropicBedrock | AsyncAnthropicVertex

_CLOUD_ERRORS = {
    "bedrock": ("botocore.exceptions", "BotoCoreError"),
    "vertex": ("google.auth.exceptions", "GoogleAuthError"),
}
_IDLE_SECONDS = 60.0  # a connection outlives most calls of tools, and is not made anew after each


class Connection:
    """The SDK's client, made when it is first needed, for any number of models at the same address."""

    def __init__(self, settings: ModelSettings) -> None:
        self._settings = settings
        self._connecting: asyncio.Task[Client] | None = None

    async def client(self) -> Client:
        if self._connecting is None:
            self._connecting = asyncio.create_task(asyncio.to_thread(_connect, self._settings))
        return await asyncio.shield(self._connecting)

    async def close(self) -> None:
        if self._connecting is not None:
            with suppress(ConfigError):  # whoever asked for an answer was told
                await (await self._connecting).close()


def _connect(settings: ModelSettings) -> Client:
    """The SDK's client, given everything, so that it looks for nothing: no key, URL, proxy or certificate of the
    environment. The clouds' own credentials are the exception, they come from the clouds' own chain."""
    gc.disable()  # thousands of classes that stay: to look through them again and again takes a fifth of the import
    try:
        import anthropic
        import genai_prices  # noqa: F401 - so that the first price does not have to wait for it
        import httpx2
    finally:
        gc.freeze()
        gc.enable()
    timeout = anthropic.Timeout(settings.stall_seconds, connect=10.0)
    ours = settings.ca_file
    trust = ssl.create_default_context(cafile=ours) if ours else httpx2.create_ssl_context(trust_env=False)
    options: dict[str, Any] = {
        "base_url": settings.base_url,
        "max_retries": 0,
        "timeout": timeout,
        "default_headers": dict(settings.headers),
        "open_telemetry": {"propagation": False, "traces": False},
        "http_client": httpx2.AsyncClient(
            transport=_pools(
                partial(
                    httpx2.AsyncHTTPTransport,
                    verify=trust,
                    proxy=settings.proxy,
                    trust_env=False,
                    limits=httpx2.Limits(keepalive_expiry=_IDLE_SECONDS),
                )
            ),
            trust_env=False,
            timeout=timeout,
            follow_redirects=False,
            headers=HEADERS,
            event_hooks={"response": [bound]},
        ),
    }
    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        credential_errors(settings.provider)
        match settings.provider:
            case "bedrock":
                return anthropic.AsyncAnthropicBedrock(api_key=key, aws_region=settings.region, **options)
            case "vertex":
                options |= {"region": settings.region} if settings.region else {}
                options |= {"project_id": settings.project} if settings.project else {}
                return anthropic.AsyncAnthropicVertex(**options)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{settings.provider} cannot be used: {str(error).rstrip('.')}. "
            f"Install dockwright[{settings.provider}], and set the region."
        ) from error
    options["base_url"] = settings.base_url or ANTHROPIC_URL
    if key is not None and not settings.is_anthropic:  # some servers read only this one
        options["default_headers"] = {"x-api-key": key, **settings.headers}
    token = settings.auth_token.get_secret_value() if settings.auth_token and key is None else None
    if key is None and token is None:
        token = "none"  # noqa: S105 - servers without keys; the SDK insists on one
    return anthropic.AsyncAnthropic(api_key=key, auth_token=token, **options)


def _pools(make: Callable[[], httpx2.AsyncBaseTransport]) -> httpx2.AsyncBaseTransport:
    """A pool of connections for each request under way: at the beginning and the end of each, a pool asks all its idle
    connections whether they are still there."""
    import httpx2

    free: list[httpx2.AsyncBaseTransport] = []

    class Lent(httpx2.AsyncByteStream):
        def __init__(self, pool: httpx2.AsyncBaseTransport, stream: httpx2.AsyncByteStream) -> None:
            self._pool, self._stream = pool, stream

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self._stream.__aiter__()

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                free.append(self._pool)

    class Pools(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            pool = free.pop() if free else make()
            try:
                response = await pool.handle_async_request(request)
            except BaseException:
                free.append(pool)
                raise
            assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - for the type checker
            response.stream = Lent(pool, response.stream)
            return response

        async def aclose(self) -> None:
            for pool in free:
                await pool.aclose()

    return Pools()


def credential_errors(provider: str) -> tuple[type[Exception], ...]:
    """What a cloud's own chain of credentials raises. Raises ImportError where its library is not installed."""
    if provider not in _CLOUD_ERRORS:
        return ()
    module, name = _CLOUD_ERRORS[provider]
    return (RuntimeError, ValueError, getattr(import_module(module), name))
