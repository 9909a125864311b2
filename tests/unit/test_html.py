"""The page of a run: it holds all of it, loads and runs nothing, and opens in a real browser."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from tests.unit.test_report_page import AT, FULL

from dockwright.claim import Claim, Evidence
from dockwright.events import Answered, CheckFinished, Event, ToolFinished, ToolStarted, Usage
from dockwright.ui.html import render

EVIL = "<img src=x onerror=alert(1)><script>document.title='owned'</script>\"'&\u202e\x1b[31m"
PATCH = "diff --git a/app.py b/app.py\n--- a/app.py\n+++ b/app.py\n@@ -1 +1 @@\n-old <b>\n+new &amp;\n"
FACT = Evidence(id="e1", kind="call", name=f"echo {EVIL}", exit_code=0, at=AT, seconds=1, container="box", output=EVIL)
CLAIMS = (
    Claim(section="", field="summary", text="Orders are in.", verdict="proven", evidence=(FACT,)),
    Claim(section="RISKS", field="RISKS", text=EVIL, verdict="refuted", reason=EVIL),
)
EVENTS: tuple[Event, ...] = (
    Answered(
        turn=1, id="m", model="m", content=({"type": "text", "text": f"The plan. {EVIL}"},), stop_reason="tool_use",
        usage=Usage(), cost=0, seconds=1,
    ),
    ToolStarted(turn=1, id="t", name="Bash", input={"command": f"ls\n{EVIL}"}),
    ToolFinished(turn=1, id="t", name="Bash", content=EVIL, is_error=True, details={"exit_code": 1}, seconds=1),
)  # fmt: skip
RESULT = FULL.model_copy(update={"claims": CLAIMS, "task": EVIL, "reason": EVIL})


def test_the_page_holds_the_run_and_nothing_of_it_is_obeyed() -> None:
    page = render(RESULT, EVENTS, PATCH, "checks_failed")
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "default-src &#x27;none&#x27;" in page
    held = ("The plan.", "Orders are in.", ">app.py</code> <small>+1 -1", "new &amp;amp;", "npm test", "$0.84", "box")
    assert [word for word in held if word not in page] == []


def test_a_check_of_migrations_opens_on_how_the_schema_changed() -> None:
    check = CheckFinished(
        kind="migrations", command="up", exit_code=0, output="ok\n", seconds=1, facts={"schema_diff": "+TABLE <orders>"}
    )
    page = render(RESULT.model_copy(update={"checks": (check,), "branch": None}), EVENTS, PATCH, "checks_failed")
    assert "How the schema changed:</p><pre>+TABLE &lt;orders&gt;</pre>" in page
    assert "<dd>none, only the patch (3 files +120 -4)</dd>" in page


async def test_a_browser_opens_it_runs_nothing_and_asks_for_nothing(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    page = tmp_path / "report.html"
    hostile = RESULT.model_copy(update={"summary": f'<img src="{address}"><link rel=stylesheet href="{address}">'})
    page.write_text(render(hostile.model_copy(update={"claims": ()}), EVENTS, PATCH, "checks_failed"))
    dom = await dumped(page, tmp_path / "profile")
    server.close()
    assert asked == []
    assert "<title>dockwright 0k3f: checks failed</title>" in dom
    assert dom.count("<details>") >= 5
    smuggled = tmp_path / "smuggled.html"
    smuggled.write_text(page.read_text().replace("</main>", "<script>document.title='owned'</script></main>"))
    assert "<title>owned" not in await dumped(smuggled, tmp_path / "profile2")


async def dumped(page: Path, profile: Path) -> str:
    """What a browser made of a page."""
    browser = shutil.which("chromium") or "chromium"
    process = await asyncio.create_subprocess_exec(
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        f"--user-data-dir={profile}", "--dump-dom", page.as_uri(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    return output.decode()
