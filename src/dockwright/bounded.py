"""How much a model API may say: an answer is bounded before anything of it is understood, so that a server without end,
or with a message that is one endless line, costs bounded memory. No encoding is taken, for it could unfold to more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from dockwright.errors import ModelError

if TYPE_CHECKING:
    import httpx2

MOST_BYTES, LONGEST_LINE = 64 << 20, 4 << 20
_LOOK = "Look at what answers there (ANTHROPIC_BASE_URL)."
HEADERS = {"accept-encoding": "identity"}


async def bound(response: httpx2.Response) -> None:
    """To be called with each response before its body is read."""
    import httpx2

    host = response.url.host

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = line = 0
            async for chunk in self._stream:
                size += len(chunk)
                end = chunk.rfind(b"\n")
                line = len(chunk) - end - 1 if end >= 0 else line + len(chunk)
                if size > MOST_BYTES or line > LONGEST_LINE:
                    raise ModelError(f"{host} said more in one answer than a model does. {_LOOK}")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    if response.headers.get("content-encoding", "identity") not in ("identity", ""):
        raise ModelError(f"{host} answers in an encoding that was not asked for. {_LOOK}")
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = Bounded(response.stream)
