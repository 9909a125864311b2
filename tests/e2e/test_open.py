"""The app of a run in a browser of the host: while the agent is at work, and again when the run is over."""

from __future__ import annotations

import asyncio
import re
import signal
import urllib.request
from pathlib import Path

import pytest
from tests.e2e.running import REPORT, Desk, leftovers

from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

pytestmark = pytest.mark.docker

# Serves its own text, and on /upload how much came before the other side ended its half.
SERVER = """
import asyncio
async def talk(reader, writer):
    while head := await reader.readline():
        if head.startswith(b"RAW"):
            data = await reader.read()
            writer.write(b"%d bytes" % len(data))
            break
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\norders")
    await writer.drain()
    writer.close()
async def main():
    async with await asyncio.start_server(talk, "127.0.0.1", 8077) as server:
        await server.serve_forever()
asyncio.run(main())
"""

# A page with a WebSocket: it says what Redis holds, and prints what the browser says to that.
PAGE = """
import asyncio, base64, hashlib
PAGE = b"<script>s = new WebSocket(`ws://${location.host}/ws`); s.onmessage = e => s.send(`seen ${e.data}`)</script>"
async def orders():
    reader, writer = await asyncio.open_connection("127.0.0.1", 6379)
    writer.write(b"GET orders\\r\\n")
    await reader.readline()
    value = (await reader.readline()).strip()
    writer.close()
    return value
async def talk(reader, writer):
    head = {}
    while (line := (await reader.readline()).strip()):
        name, _, value = line.partition(b": ")
        head[name.lower()] = value
    if b"sec-websocket-key" not in head:
        writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Type: text/html\\r\\n\\r\\n" + PAGE)
        return writer.close()
    key = hashlib.sha1(head[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                 b"Sec-WebSocket-Accept: " + base64.b64encode(key) + b"\\r\\n\\r\\n")
    text = b"orders " + await orders()
    writer.write(bytes([0x81, len(text)]) + text)
    _, size = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size & 127)
    print(bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)).decode(), flush=True)
async def main():
    async with await asyncio.start_server(talk, "127.0.0.1", 8078) as server:
        await server.serve_forever()
asyncio.run(main())
"""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - ours
        return str(answer.read().decode())


async def said_by(process: asyncio.subprocess.Process, pattern: bytes) -> re.Match[bytes]:
    """Where what `dockwright open` says fits the pattern at last."""
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(60):
        while not (found := re.search(pattern, said)):
            line = await process.stdout.readline()
            assert line, said.decode()
            said += line
    return found


async def opened(process: asyncio.subprocess.Process) -> str:
    """The URL that `dockwright open` says."""
    found = await said_by(process, rb"http://127\.0\.0\.1:(\d+) ")
    return f"http://127.0.0.1:{int(found[1])}"


async def end(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(60):
        await process.communicate()
    return process.returncode or 0


async def test_a_port_of_a_running_sandbox_without_network_is_on_the_loopback_until_ctrl_c(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    serve = tool_use("Bash", {"command": "python3 app.py", "run_in_background": True})
    script: list[Turn | str] = [
        Turn([tool_use("Write", {"file_path": "/workspace/app.py", "content": SERVER}), serve]),
        Turn([tool_use("Bash", {"command": "until [ -e done ]; do sleep 0.1; done"})]), Turn([REPORT]), "Done.",
    ]  # fmt: skip
    async with ScriptedApi(script) as api:
        run = await desk.start(api, *desk.arguments("docker"))
        async with asyncio.timeout(60):
            while len(api.requests) < 2:
                await asyncio.sleep(0.1)
        viewer = await desk.start(None, "open", desk.runs[0].name, "8077", "--host-port", "0")
        url = await opened(viewer)
        answers = await asyncio.gather(*(asyncio.to_thread(get, url) for _ in range(40)))
        assert set(answers) == {"orders"}
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for _ in range(3):  # one connection, kept alive
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readexactly(44)).endswith(b"orders")
        writer.write(b"RAW\n" + b"x" * (3 << 20))
        writer.write_eof()
        assert await reader.read() == b"%d bytes" % (3 << 20)
        writer.close()
        assert await end(viewer) == 130
        with pytest.raises(OSError, match="refused"):
            await asyncio.to_thread(get, url)
        assert (desk.runs[0] / "tunnel.sock").stat().st_mode & 0o777 == 0o600
        run.send_signal(signal.SIGINT)
        await run.communicate()
    assert not (desk.runs[0] / "tunnel.sock").exists()
    assert leftovers(desk.runs[0].name) == []


async def test_of_a_run_that_is_over_nothing_is_started_unasked_and_an_app_that_fails_leaves_nothing(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    write = Turn([tool_use("Write", {"file_path": "/workspace/app.py", "content": SERVER}), REPORT])
    code, said = await desk.run([write, "Done."])
    assert code == 0, said
    name = desk.runs[0].name
    before = sorted(path.name for path in desk.runs[0].iterdir())
    code, said = await desk.call(None, "open", name, "8077")
    assert code == 2
    assert f'dockwright open {name} 8077 --serve "COMMAND"' in said
    code, said = await desk.call(None, "open", name, "8077", "--serve", "echo no such thing; exit 3")
    assert code == 2
    assert "ended with exit code 3" in said
    assert "no such thing" in said
    assert leftovers(name) == []
    assert sorted(path.name for path in desk.runs[0].iterdir()) == before


async def test_the_app_of_the_runs_own_serve_comes_back_with_the_data_of_its_services_for_a_browser(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    work = Turn([
        tool_use("Write", {"file_path": "/workspace/app.py", "content": PAGE}),
        tool_use("Bash", {"command": 'redis-cli -u "$REDIS_URL" SET orders 41'}), REPORT,
    ])  # fmt: skip
    app = ("--serve", "python3 app.py", "--probe", "http://localhost:8078/")
    code, said = await desk.run([work, "Done."], "--services", "redis", *app)
    assert code == 0, said
    name = desk.runs[0].name
    before = sorted(path.name for path in desk.runs[0].iterdir())
    viewer = await desk.start(None, "open", name, "8078", "--host-port", "0")
    url = await opened(viewer)
    browser = await asyncio.create_subprocess_exec(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}",
        "--remote-debugging-port=0", url, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await said_by(viewer, rb"seen orders 41\n")
    browser.terminate()
    await browser.wait()
    assert await end(viewer) == 130
    assert leftovers(name) == []
    assert sorted(path.name for path in desk.runs[0].iterdir()) == before
