"""A real browser without a window, asked over its debugging pipe: what a page became, not what it says."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COMMAND = (
    'exec "$0" --headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run'
    " --remote-debugging-pipe --user-data-dir={profile} about:blank 3<&{orders} 4>&{answers} 2>/dev/null"
)


@dataclass
class Browser:
    reader: asyncio.StreamReader
    orders: int
    session: str = ""
    numbers: list[int] = field(default_factory=list)

    async def ask(self, method: str, **params: Any) -> Any:
        self.numbers.append(len(self.numbers) + 1)
        order = {"id": self.numbers[-1], "method": method, "params": params}
        if self.session:
            order["sessionId"] = self.session
        os.write(self.orders, json.dumps(order).encode() + b"\0")
        while True:
            answer = json.loads((await self.reader.readuntil(b"\0"))[:-1])
            if answer.get("id") == self.numbers[-1]:
                assert "error" not in answer, answer
                return answer["result"]

    async def open(self, address: str) -> None:
        """Go there. `until` says when it is shown."""
        await self.ask("Page.navigate", url=address)
        await self.until(f"location.href === {json.dumps(address)} && document.readyState === 'complete'")

    async def value(self, expression: str) -> Any:
        """Of JavaScript in the page, which no policy of the page holds back."""
        done = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    async def until(self, expression: str) -> None:
        async with asyncio.timeout(60):
            while not await self.value(expression):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Browser]:
    orders_in, orders = os.pipe()
    answers, answers_out = os.pipe()
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", _COMMAND.format(profile=profile, orders=orders_in, answers=answers_out),
        shutil.which("chromium") or "chromium", pass_fds=(orders_in, answers_out),
    )  # fmt: skip
    os.close(orders_in)
    os.close(answers_out)
    reader = asyncio.StreamReader(limit=1 << 24)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(answers, "rb")
    )
    try:
        async with asyncio.timeout(60):
            browser = Browser(reader, orders)
            target = (await browser.ask("Target.createTarget", url="about:blank"))["targetId"]
            attached = await browser.ask("Target.attachToTarget", targetId=target, flatten=True)
        browser.session = attached["sessionId"]
        yield browser
    finally:
        os.close(orders)  # which ends it
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        transport.close()
