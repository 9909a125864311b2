"""The way to a place's runner: looked after, and made anew when the runner dies.

A runner that says nothing is asked after; where the place says that it is gone, paused or wedged, the sandbox is lost
within seconds. A runner that died is followed by another one in the same place, which ends all that was running there;
a call that was under way is Interrupted, calls that can be made again are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dockwright.errors import Interrupted, SandboxError, SandboxLost
from dockwright.sandbox.channel import Channel, ChannelLost, Stream

if TYPE_CHECKING:
    from dockwright.sandbox import Place

START_SECONDS = 30
ASK_EVERY, SILENT_SECONDS, HANGING_SECONDS = 2.0, 5.0, 60.0
MOST_RUNNERS = 4
_NOT_AGAIN = ("exec", "spawn")  # what these had begun may have been done already

Json = Mapping[str, Any]
OnStream = Callable[[Stream, Json], None]


class Lifeline:
    """`channel` is that of the runner that is alive now. `answer` is what it said at its start."""

    def __init__(self, place: Place, start: Json) -> None:
        self.place, self._start = place, start
        self.channel: Channel
        self.answer: Json = {}
        self._runners = 0
        self._over = False  # lost for good, or closed
        self._listeners: dict[int, OnStream] = {}
        self._making = asyncio.Lock()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Lifeline]:
        """Raises SandboxError where no runner comes up."""
        await self._new_runner()
        looking = asyncio.create_task(self._look_after())
        try:
            yield self
        finally:
            looking.cancel()
            self.end("closed")

    async def call(self, call: Json, data: bytes = b"", on_live: Callable[[bytes], None] | None = None) -> Any:
        """As `Channel.call`. Raises SandboxLost, Interrupted, and what the call itself raises."""
        channel = await self.ready()
        try:
            return await channel.call(call, data, on_live)
        except ChannelLost:
            await self._follow(channel)
        if call["do"] in _NOT_AGAIN:
            raise Interrupted(
                f"interrupted: {channel.lost.result()}. Another runner was started in the same sandbox: files are as "
                "they were, all processes and background jobs have ended. Look at what was done, then go on."
            )
        try:
            return await self.channel.call(call, data, on_live)
        except ChannelLost as error:
            raise await self.lost() from error

    async def ready(self) -> Channel:
        """The channel of a runner that is alive. Raises SandboxLost."""
        if self.channel.lost.done():
            await self._follow(self.channel)
        return self.channel

    async def listen(self, port: int, on_stream: OnStream) -> None:
        """Accept on this port of the sandbox's loopback from now on, whichever runner is there."""
        self._listeners[port] = on_stream
        await self.call({"do": "listen", "port": port})

    async def lost(self) -> SandboxLost:
        """The error to raise when the channel is gone: what happened and what is known of the cause."""
        reason = self.channel.lost.result() if self.channel.lost.done() else "no answer"
        return SandboxLost(
            f"The sandbox ({self.place.backend} {self.place.id}) was lost: {reason}. {await self.place.why_lost()} "
            "The work up to the last finished step is kept."
        )

    def end(self, reason: str) -> None:
        self._over = True
        self.channel.end(reason)

    async def _follow(self, dead: Channel) -> None:
        """Start the next runner, unless somebody has. Raises SandboxLost."""
        async with self._making:
            if self.channel is not dead:
                return
            if self._over or self._runners == MOST_RUNNERS:
                raise await self.lost()
            try:
                await self._new_runner()
                for port in self._listeners:
                    await self.channel.call({"do": "listen", "port": port})
            except (SandboxError, OSError) as error:
                self._over, self.channel = True, dead
                raise await self.lost() from error

    async def _new_runner(self) -> None:
        self._runners += 1
        place = self.place
        channel = self.channel = await place.start_runner()
        channel.on_open = self._opened
        try:
            async with asyncio.timeout(START_SECONDS):
                await channel.hello
                self.answer, _ = await channel.call(self._start)
        except TimeoutError as error:
            channel.end("it gave no answer")
            raise SandboxError(
                f"The runner in {place.backend} {place.id} gave no answer in {START_SECONDS} s. "
                f"{await place.why_lost()}"
            ) from error
        except (OSError, KeyError) as error:
            raise SandboxError(f"The runner in {place.backend} {place.id} did not start: {error}") from error

    def _opened(self, stream: Stream, said: Json) -> None:
        if on_stream := self._listeners.get(said["port"]):
            on_stream(stream, said)

    async def _look_after(self) -> None:
        """Ask the runner for a sign of life now and then; a busy machine may keep it waiting, a broken one may not."""
        while True:
            await asyncio.sleep(ASK_EVERY)
            channel = self.channel
            with contextlib.suppress(ChannelLost):
                asked = channel.open({"do": "ping"})
                silent = 0.0
                while not (await asyncio.wait([asked.done], timeout=SILENT_SECONDS))[0]:
                    silent += SILENT_SECONDS
                    if silent >= HANGING_SECONDS or not await self.place.is_alive():
                        self._over = True
                        channel.end(f"no sign of life for {silent:g} seconds")
                        return
