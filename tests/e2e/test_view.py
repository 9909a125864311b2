"""A batch in a browser: as one file, and live while it works."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.browser import browsing
from tests.e2e.batching import SCRIPTS, WRITE, Bench, ended

from dockwright.testing.scripted_api import Script, ScriptedApi, Turn, text, tool_use

EVIL = (
    "</summary><script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>\u202e\x1b[31m\"'"
)
HOSTILE: Script = (
    Turn([text(EVIL), WRITE, tool_use("Write", {"file_path": "/workspace/<img src=x>.txt", "content": EVIL})]),
    Turn([tool_use("Bash", {"command": "printf 'the secret is sesame-open-42'"})]),
    Turn([tool_use("SubmitReport", {"summary": EVIL, "changes": [EVIL]})]),
    "Done.",
)


class Seen(HTMLParser):
    """What a page would load or run, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.data = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "link", "iframe", "object", "base", "form"):
            self.refused.append(tag)
        self.refused += (name for name, _ in attrs if name in ("src", "href", "srcset", "action") or name[:2] == "on")

    def handle_data(self, data: str) -> None:
        self.data += data


@pytest.mark.bubblewrap
async def test_a_batch_is_one_page_that_holds_all_of_it_and_obeys_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sesame-open-42")
    async with ScriptedApi(scripts={**SCRIPTS, "hostile": HOSTILE}) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        bench.write_tasks(
            ("good", "works", {"tags": ["api"]}),
            ("failed", "works", {"tags": ["api", "auth"], "check": ["true", "echo 3 of 4 failed; exit 1"]}),
            ("hostile", "hostile", {"tags": [EVIL], "check": [f"echo '{EVIL.replace(chr(39), '')}'"]}),
            ("refused", "refuses", {"deliver": "none"}),
        )
        assert (await bench.run("-j", "2", "--secret", "PASS=secret"))[0] == 6
    code, out, err = await bench.run(command=("view", "out", "-o", "page.html"))

    assert (code, out, err) == (0, "Written to page.html.\n", "")
    page = (tmp_path / "page.html").read_text("utf-8")
    seen = Seen(page)
    assert (seen.refused, re.findall(r"url\(|@import", page)) == ([], [])
    assert "sesame-open-42" not in page
    assert "the secret is [PASS]" in seen.data
    assert not set("\u202e\x1b") & set(page)
    for words in ("3 of 4 failed", "+made", "made.txt was made", "Task <good>.", "1 of 2", "4 tasks · $"):
        assert words in seen.data

    async with browsing(tmp_path / "profile") as browser:
        await browser.open((tmp_path / "page.html").as_uri())

        async def lines() -> list[str]:
            shown = "[...document.querySelectorAll('.task')].filter(task => task.offsetHeight)"
            return list(await browser.value(f"{shown}.map(task => task.querySelector('summary').textContent)"))

        async def choose(group: str, word: str) -> None:
            inputs = f"[...document.querySelectorAll('input[name={group}]')]"
            await browser.value(f"{inputs}.find(it => it.parentNode.textContent.startsWith('{word}')).click()")

        assert await browser.value("document.title") == "dockwright batch out"
        assert await browser.value("document.querySelectorAll('script, img').length") == 0
        assert await lines() == ["refused", "failed", "good", "hostile"]
        await choose("tag", "api")
        assert await lines() == ["failed", "good"]
        await choose("state", "verified")
        assert await lines() == ["good"]
        more = "document.querySelectorAll('.task')[2].querySelector('.more').offsetHeight"
        assert await browser.value(more) == 0
        await browser.value("document.querySelectorAll('.task summary')[0].closest('table').scrollIntoView()")
        await browser.value("[...document.querySelectorAll('.toggle')][2].querySelector('summary').click()")
        assert await browser.value(more) > 100


class Stream:
    """Server-sent events, each as the object that it holds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.seen: dict[str, str] = {}

    async def until(self, id_: str, *words: str) -> str:
        """The newest piece for a place, as soon as it says all of this."""
        async with asyncio.timeout(60):
            while not all(word in self.seen.get(id_, "") for word in words) or id_ not in self.seen:
                line = await self._reader.readline()
                assert line, f"it ended before {id_} said {words}: {self.seen}"
                if line.startswith(b"data: "):
                    piece: dict[str, str] = json.loads(line[6:])
                    self.seen[piece.get("id") or piece.get("into") or "do"] = piece.get("html", piece.get("do", ""))
        return re.sub(r"<[^>]*>", " ", self.seen[id_])

    def close(self) -> None:
        self._writer.close()


async def get(address: str, path: str, host: str = "", method: str = "GET") -> tuple[int, str, Stream]:
    """The status, the headers, and what follows."""
    here, port = address.removeprefix("http://").partition("/")[0].split(":")
    reader, writer = await asyncio.open_connection(here, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: {host or f'{here}:{port}'}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    return int(head.split()[1]), head, Stream(reader, writer)


@asynccontextmanager
async def serving(bench: Bench, *what: str) -> AsyncIterator[tuple[Process, str]]:
    """The process and its address."""
    process = await bench.start(command=("ui", *what))
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            address = (await process.stdout.readline()).decode().strip()
        yield process, address
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.bubblewrap
async def test_a_batch_is_seen_live_by_those_who_know_the_address_until_it_ends(tmp_path: Path) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        few = {"deliver": "none", "check": []}
        bench.write_tasks(
            ("first", "works", {**few, "tags": [EVIL]}), ("second", "stalls", few), ("third", "works", few)
        )
        batch = await bench.start("-j", "1")
        await bench.until_asked(second=2)
        async with serving(bench, "out") as (server, address):
            path = "/" + address.split("/", 3)[3]

            asked = [
                await get(address, path, host="evil.example"),
                await get(address, "/"),
                await get(address, f"/{'x' * (len(path) - 2)}/events"),
                await get(address, path, method="POST"),
                await get(address, f"{path}0/gone"),
                await get(address, path),
            ]
            assert [status for status, _, _ in asked] == [421, 403, 403, 405, 404, 200]
            head = asked[-1][1]
            assert re.search(r"content-security-policy: default-src 'none'.*script-src 'nonce-[\w-]{22}'", head)

            _, head, stream = await get(address, f"{path}events")
            assert "content-type: text/event-stream" in head
            assert "done" in await stream.until("0/first")
            assert "running" in await stream.until("0/second", 'class="c3">1<')
            assert "not begun" in await stream.until("0/third")
            _, _, run = await get(address, f"{path}0/second/events")
            assert "Write made.txt" in await run.until("transcript", "made.txt")
            assert (await bench.run(command=("view", "out", "-o", "page.html")))[0] == 0
            page = (tmp_path / "page.html").read_text("utf-8")
            assert ("At work." in page, "Not begun." in page) == (True, True)

            async with browsing(tmp_path / "profile") as browser:
                await browser.open(address)
                await browser.until("document.getElementById('link').textContent === 'live'")
                await browser.until("document.getElementById('0/second').textContent.includes('running')")
                assert await browser.value("[document.title, document.images.length]") == ["dockwright live", 0]
                batch.send_signal(signal.SIGINT)
                assert (await ended(batch))[0] == 130
                await browser.until("document.getElementById('0/second').textContent.includes('interrupted')")
            await stream.until("0/second", "interrupted")
            assert await run.until("do") == "reload"
            asked.append(await get(address, f"{path}0/second"))
            assert "script-src" not in asked[-1][1]

            server.send_signal(signal.SIGINT)
            async with asyncio.timeout(20):
                assert await ended(server) == (130, "Ctrl-C ends it.\n", "")
            for each in (stream, run, *(answer for _, _, answer in asked)):
                each.close()


async def test_what_cannot_be_shown_is_told_with_what_to_do(tmp_path: Path) -> None:
    async with ScriptedApi() as api:
        bench = Bench(tmp_path, "bubblewrap", api)
        code, _, err = await bench.run(command=("view", "repo"))
        said = (
            f"error: {tmp_path}/repo is not the --out of a batch: there is no batch.json in it. "
            "There is no run repo. `dockwright runs` lists them.\n"
        )
        assert (code, err) == (2, said)
        without = "import sys; sys.modules['starlette'] = None; from dockwright.cli import main; main()"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", without, "ui", stdout=PIPE, stderr=PIPE)
        assert await ended(process) == (
            2,
            "",
            "error: The live page needs starlette and uvicorn, which are not installed: pip install 'dockwright[ui]'\n",
        )
        loaded = "from dockwright.cli import app; import sys; print(sys.modules.keys() & {'starlette', 'uvicorn'})"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", loaded, stdout=PIPE, stderr=PIPE)
        assert await ended(process) == (0, "set()\n", "")
