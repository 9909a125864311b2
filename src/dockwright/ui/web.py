"""A page that shows runs while they work, to browsers of this machine. It reads their journals and changes nothing.

Other web pages can neither reach nor read it: it listens on loopback, answers nothing but GET, to its own name alone,
and each address holds a token that only the terminal shows. While nobody looks, nothing is read.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dockwright.errors import ConfigError, DockwrightError
from dockwright.events import ToolStarted
from dockwright.journal import JournalError, Tail
from dockwright.ui.calls import asked
from dockwright.ui.follow import Entry
from dockwright.ui.html import about, asset, badge, page, page_of
from dockwright.ui.html.batch import heading, row, table, totals
from dockwright.ui.html.transcript import bounded, transcript
from dockwright.ui.safe_html import CSP, text

_PAUSE = 1.0  # seconds between two looks
_MOST_AT_ONCE = 2 << 20  # characters of a transcript
_HEADERS = [
    ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"), ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Resource-Policy", "same-origin"),
]  # fmt: skip
Source = tuple[str, Callable[[], tuple[Entry, ...]]]
Piece = dict[str, str]


async def serve(sources: Sequence[Source], port: int, tell: Callable[[str], object]) -> None:
    """Show what the sources find, each under its name, until a signal comes. `tell` is given the address. Raises
    ConfigError where the port cannot be had, and what a source raises at its first look."""
    watch = _Watch(sources)
    await watch.look()
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(
            f"Port {port} of this machine cannot be had: {os.strerror(error.errno or 0)}. Name another, or none."
        ) from error
    with listener:
        here, token = listener.getsockname()[1], secrets.token_urlsafe(16)
        closing = asyncio.Event()
        views = _Views(watch, closing)
        app = Starlette(
            routes=[Mount(f"/{token}", routes=views.routes())],
            exception_handlers={DockwrightError: _told},
        )  # fmt: skip
        guarded = _OnlyHere(app, f"/{token}/")
        config = uvicorn.Config(
            guarded, http="h11", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            headers=_HEADERS, timeout_graceful_shutdown=2,
        )  # fmt: skip
        tell(f"http://127.0.0.1:{here}/{token}/")
        await _Server(config, closing).serve([listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends the streams, which would not end by themselves."""
        self._closing.set()
        super().handle_exit(sig, frame)


@dataclass(frozen=True)
class _OnlyHere:
    """Refuses what another web page could send. The port is not looked at, so that it may be forwarded."""

    app: ASGIApp
    path: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp = self.app
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if host.partition(":")[0] not in ("127.0.0.1", "localhost"):
            app = PlainTextResponse("This is 127.0.0.1 and no other host.", 421)
        elif scope["method"] != "GET":
            app = PlainTextResponse("There is nothing to change here, only to look at.", 405)
        elif not secrets.compare_digest(scope["path"][: len(self.path)].encode(), self.path.encode()):
            app = PlainTextResponse("Open the address that `dockwright ui` printed, the whole of it.", 403)
        await app(scope, receive, send)


class _Watch:
    """Looks at all sources, for however many who look, at most once a pause."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self._one = asyncio.Lock()
        self._at = float("-inf")
        self._seen: list[tuple[Entry, ...]] = []

    async def look(self) -> list[tuple[Entry, ...]]:
        async with self._one:
            if time.monotonic() - self._at >= _PAUSE / 2:
                self._seen = await asyncio.to_thread(lambda: [look() for _, look in self.sources])
                self._at = time.monotonic()
            return self._seen


class _Views:
    def __init__(self, watch: _Watch, closing: asyncio.Event) -> None:
        self._watch, self._closing = watch, closing

    def routes(self) -> list[Route]:
        return [
            Route("/", self._all),
            Route("/events", self._all_events),
            Route("/{source:int}/{name}", self._run),
            Route("/{source:int}/{name}/events", self._run_events),
        ]

    async def _all(self, request: Request) -> Response:
        sources = zip(self._watch.sources, await self._watch.look(), strict=True)
        parts = (_source(number, name, entries) for number, ((name, _), entries) in enumerate(sources))
        return _live("live", parts, "events")

    async def _all_events(self, request: Request) -> Response:
        return _stream(self._changes_of_all())

    async def _run(self, request: Request) -> Response:
        entry = await self._entry(request)
        if entry is None:
            return PlainTextResponse("There is no such run here.", 404)
        if _is_over(entry):
            html = await asyncio.to_thread(page_of, entry.folder, entry.result)
            return HTMLResponse(html, headers={"Content-Security-Policy": CSP})
        head = f'<p><a href="../">All tasks</a></p><h1>{text(entry.name)}</h1>'
        parts = (head, _about(entry), '<section id="transcript"></section>', _doing({}))
        return _live(entry.name, parts, f"{quote(entry.name)}/events")

    async def _run_events(self, request: Request) -> Response:
        return _stream(self._changes_of_run(request))

    async def _entry(self, request: Request) -> Entry | None:
        seen = await self._watch.look()
        source, name = request.path_params["source"], request.path_params["name"]
        return next((entry for entry in seen[source] if entry.name == name), None) if source < len(seen) else None

    async def _changes_of_all(self) -> AsyncIterator[Piece]:
        before: list[tuple[Entry, ...]] = []
        shown: dict[str, str] = {}
        while not self._closing.is_set():
            seen = await self._watch.look()
            if seen != before:
                before = seen
                for id_, into, html in (
                    piece for number, entries in enumerate(seen) for piece in _rows(number, entries)
                ):
                    if shown.get(id_) != html:
                        shown[id_] = html
                        yield {"id": id_, "into": into, "html": html}
            await self._pause()

    async def _changes_of_run(self, request: Request) -> AsyncIterator[Piece]:
        calls: dict[str, ToolStarted] = {}
        shown: dict[str, str] = {}
        tail: Tail | None = None
        yield {"id": "transcript", "into": "", "html": '<section id="transcript"></section>'}
        while not self._closing.is_set():
            entry = await self._entry(request)
            if entry is None or _is_over(entry) or (tail and tail.files > 1):
                yield {"do": "reload"}
                return
            tail = tail or Tail(entry.journal)
            if said := await asyncio.to_thread(_said, tail, calls, str(entry.journal)):
                yield {"id": "", "into": "transcript", "html": said}
            for id_, html in (("about", _about(entry)), ("doing", _doing(calls))):
                if shown.get(id_) != html:
                    shown[id_] = html
                    yield {"id": id_, "into": "", "html": html}
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await self._closing.wait()


def _is_over(entry: Entry) -> bool:
    return entry.state not in ("running", "not begun")


def _said(tail: Tail, calls: dict[str, ToolStarted], whole: str) -> str:
    with suppress(FileNotFoundError, NotADirectoryError, JournalError):  # the entry tells what is wrong with a journal
        return "".join(bounded(transcript(tail.new(), calls), _MOST_AT_ONCE, whole))
    return ""


def _source(number: int, name: str, entries: Sequence[Entry]) -> str:
    (_, _, head), *rows = _rows(number, entries)
    return (
        f'<section class="list">{heading(name, entries)}{head}'
        f'<div class="rows" id="rows{number}">{"".join(table(html for _, _, html in rows))}</div></section>'
    )


def _rows(number: int, entries: Sequence[Entry]) -> Iterator[tuple[str, str, str]]:
    """The pieces of a source: the id of each, where it belongs if it is new, and the piece itself."""
    yield f"totals{number}", "", f'<div id="totals{number}">{totals(entries, worded=True)}</div>'
    for entry in entries:
        id_ = f"{number}/{entry.name}"
        task = entry.result.task.strip().partition("\n")[0][:120] if entry.name == entry.result.run else ""
        name = f'<a href="{number}/{quote(entry.name)}">{text(entry.name)}</a> <small>{text(task)}</small>'
        yield id_, f"rows{number}", f'<tbody class="task" id="{text(id_)}">{row(entry, name)}</tbody>'


def _about(entry: Entry) -> str:
    return f'<div id="about"><p>{badge(entry.state)}</p>{about(entry.result)}</div>'


def _doing(calls: dict[str, ToolStarted]) -> str:
    lines = "".join(f"<p><code>{text(asked(call.name, call.input).plain)}</code> …</p>" for call in calls.values())
    return f'<div id="doing" class="dim">{lines}</div>'


def _live(title: str, parts: Iterable[str], events: str) -> Response:
    nonce = secrets.token_urlsafe(16)
    policy = f"{CSP}; script-src 'nonce-{nonce}'; connect-src 'self'"
    state = f'<p id="link" role="status" data-events="{text(events)}">connecting</p>'
    end = f'{state}<script nonce="{nonce}">{asset("live.js")}</script>'
    html = "".join(page(title, (*parts, end), asset("table.css"), policy))
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


def _stream(pieces: AsyncIterator[Piece]) -> Response:
    lines = (f"data: {json.dumps(piece)}\n\n" async for piece in pieces)
    return StreamingResponse(lines, media_type="text/event-stream")


async def _told(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), 500)
