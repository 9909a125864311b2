"""The main job, end to end, with real tools in a real sandbox: `make demo`.

Without a model key the model's part is played from a recorded conversation (examples/recorded/orders.jsonl); what its
tool calls do, the checks, the branch and the report are done now, on this machine. With ANTHROPIC_API_KEY it is live.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from dockwright.testing.scripted_api import ScriptedApi

HERE = Path(__file__).parent
RECORDED = HERE / "recorded" / "orders.jsonl"
REPOSITORY = HERE.parent / "build" / "demo" / "orders"
TASK = (HERE / "recorded" / "orders.md").read_text("utf-8").strip()
SERVE = "alembic upgrade head && (uvicorn orders.main:app --port 8080 --log-level warning &)"
ASK = "curl -fsS -o /dev/null --retry 30 --retry-delay 1 --retry-connrefused -w 'GET /health answers %{http_code}\\n'"
CHECKS = ("python3 -m pytest -q", f"{SERVE}; {ASK} http://127.0.0.1:8080/health")


def make_repository() -> None:
    """An empty repository with one commit, as a user would have it."""
    shutil.rmtree(REPOSITORY, ignore_errors=True)
    REPOSITORY.mkdir(parents=True)
    identity = ("-c", "user.name=Demo", "-c", "user.email=demo@example.invalid")
    for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Start"]):
        subprocess.run(["git", *identity, *command], cwd=REPOSITORY, check=True)


def log() -> str:
    command = ["git", "log", "--oneline", "--stat", "--all"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


async def main() -> int:
    make_repository()
    env = dict(os.environ)
    live = any(env.get(name) for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"))
    async with AsyncExitStack() as stack:
        if live:
            print("demo: a model key is set, so this is live: the model is asked, and costs money.\n", flush=True)
        else:
            print("demo: no model key is set, so the model was recorded: its answers are played back from")
            print(
                f"      {RECORDED.relative_to(HERE.parent)}. The tools, the sandbox and the proof are real.\n",
                flush=True,
            )
            api = await stack.enter_async_context(ScriptedApi.from_journal(RECORDED))
            env |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "recorded"}
        checks = [word for check in CHECKS for word in ("--check", check)]
        command = [str(Path(sys.executable).parent / "dockwright"), "run", "-C", str(REPOSITORY), "--net", "none"]
        process = await asyncio.create_subprocess_exec(*command, *checks, *sys.argv[1:], "--", TASK, env=env)
        code = await process.wait()
    print(f"\nThe repository {REPOSITORY} has it now:\n{log()}")
    if not live:
        print("demo: the model was recorded, so nothing was paid; what is shown as spent is what its answers cost.")
        print("      Set ANTHROPIC_API_KEY to see it live.")
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
