"""An app started in the clean sandbox and asked over HTTP, inside: no port is opened and nothing of it is parsed here.

It is asked by the runner's own Python, past any proxy, until it answers as expected or the time is up.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

from dockwright.events import CheckFinished
from dockwright.proof.commands import shell
from dockwright.proof.demands import Probe
from dockwright.sandbox import Job, Sandbox

_PAUSE = 0.2
_SHOWN = 16_000  # characters of the server's output that are kept
_ASK = """
import json, sys, urllib.error, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args):
        return None
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
try:
    with opener.open(sys.argv[1], timeout=float(sys.argv[2])) as answer:
        status, body = answer.status, answer.read(2000)
except urllib.error.HTTPError as error:
    status, body = error.code, error.read(2000)
except Exception as error:
    status, body = None, str(getattr(error, "reason", error)).encode()
print(json.dumps([status, body.decode("utf-8", "replace")]))
"""


async def probe(sandbox: Sandbox, serve: str, probes: Sequence[Probe], seconds: float) -> list[CheckFinished]:
    """Start `serve`, ask each probe for at most `seconds` seconds, and kill the app with all it started.

    The output of the server is kept with the last probe."""
    job = await sandbox.spawn(shell(sandbox, serve))
    deadline = time.monotonic() + seconds
    checks, printed = [], b""
    try:
        for one in probes:
            began = time.monotonic()
            passed, words, job, more = await _ask(sandbox, job, one, deadline)
            printed += more
            checks.append(
                CheckFinished(
                    kind="probe",
                    command=f"{serve}; GET {one.url}",
                    exit_code=0 if passed else 1,
                    output=words,
                    seconds=round(time.monotonic() - began, 3),
                    facts={"url": one.url, "expected": one.expected},
                )
            )
    finally:
        printed += (await sandbox.kill(job.id)).output
    if printed and checks:
        said = f"{checks[-1].output}\nThe server printed:\n{printed.decode('utf-8', 'replace')[-_SHOWN:]}"
        checks[-1] = checks[-1].model_copy(update={"output": said})
    return checks


async def _ask(sandbox: Sandbox, job: Job, wanted: Probe, deadline: float) -> tuple[bool, str, Job, bytes]:
    """Whether it answered as expected, in words, and what the server printed meanwhile."""
    printed = b""
    while True:
        left = max(deadline - time.monotonic(), 1.0)
        told = await sandbox.python(_ASK, wanted.url, f"{left:.1f}", timeout=left + 10, limit=16_000)
        status, body = _answer(told.stdout)
        if status is not None and (status == wanted.status or (wanted.status is None and 200 <= status < 300)):
            return True, f"GET {wanted.url} answered {status}: {body}", job, printed
        said = f"answered {status}, not {wanted.expected}: {body}" if status else f"gave no answer: {body}"
        job = await sandbox.poll(job.id)
        printed += job.output
        if job.status != "running":
            return False, f"GET {wanted.url} {said}\nThe server ended with exit code {job.exit_code}.", job, printed
        if time.monotonic() >= deadline:
            return False, f"GET {wanted.url} {said}\nThe time for it was up.", job, printed
        await asyncio.sleep(_PAUSE)


def _answer(said: bytes) -> tuple[int | None, str]:
    """What the asking program said. It runs beside code of the agent, so it is not believed to be well-formed."""
    try:
        status, body = json.loads(said)
    except (ValueError, TypeError):
        return None, "the answer could not be read"
    return (status if isinstance(status, int) else None), str(body)[:2000]
