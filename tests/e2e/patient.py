"""A model that does what a good one does when it is told that a call was interrupted: it makes the call again.

Its turns are picked by what was carried out, not by how many messages there are, so a run may be broken off anywhere.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from dockwright.history import NOT_STARTED, UNFINISHED
from dockwright.testing.scripted_api import Fault, Request, ScriptedApi, Turn, tool_use

Call = tuple[str, str, str]  # name, input, result


def bash(command: str) -> dict[str, Any]:
    return tool_use("Bash", {"command": command})


REPORT = tool_use("SubmitReport", {"summary": "A shop.", "program": {"language": "sh", "entry_point": "sh app.sh"}})
ANOTHER_RUNNER = "Another runner was started in the same sandbox"
FILE = "/workspace/app.sh"
TWELVE: list[Turn | str] = [
    Turn([bash("ls; cat README.md")]),
    Turn([tool_use("Write", {"file_path": FILE, "content": "echo one\necho two\n"})]),
    Turn([tool_use("Edit", {"file_path": FILE, "old_string": "one", "new_string": "eins"})]),
    Turn(
        [bash("git checkout -q -B side; git add -A; git commit -qm shop > /tmp/said; git log --format=%s; sh app.sh")]
    ),
    Turn([tool_use("Read", {"file_path": FILE}), tool_use("Grep", {"pattern": "two", "output_mode": "content"})]),
    Turn([bash("mkdir -p lib && cd lib && echo part > part.txt && pwd")]),
    Turn([bash("pwd > where.txt; cat part.txt")]),
    Turn([tool_use("Write", {"file_path": "/workspace/b.sh", "content": "echo b\n"}), bash("cat ../b.sh > ../c.sh")]),
    Turn([tool_use("Edit", {"file_path": "/workspace/b.sh", "old_string": "echo b", "new_string": "echo B"})]),
    Turn([bash("rm -f ../README.md; git branch --show-current; git log --format=%s; git status --porcelain | sort")]),
    Turn([REPORT]),
    "It is done.",
]


class PatientApi(ScriptedApi):
    """Plays TWELVE."""

    def __init__(self) -> None:
        super().__init__(TWELVE)
        self._asked: Counter[int] = Counter()

    def _pick(self, request: Request) -> tuple[Turn, Fault | None, int]:
        super()._pick(request)  # refuses what breaks the protocol
        done = {(name, given) for name, given, _ in carried_out(request.body["messages"])}
        number = next((n for n, turn in enumerate(TWELVE) if not _calls(turn) <= done or not _calls(turn)), 0)
        turn = TWELVE[number]
        self._asked[number] += 1
        left = [block for block in turn.content if _call(block) not in done] if isinstance(turn, Turn) else []
        content = left or [{"type": "text", "text": turn}]
        return Turn(content, usage={"input_tokens": 10}), None, number * 100 + self._asked[number]


def _calls(turn: Turn | str) -> set[tuple[str, str]]:
    blocks = turn.content if isinstance(turn, Turn) else ()
    return {_call(block) for block in blocks}


def _call(block: dict[str, Any]) -> tuple[str, str]:
    return block["name"], json.dumps(block["input"])


def carried_out(messages: list[dict[str, Any]]) -> list[Call]:
    """The calls of a conversation that were carried out, with what the model was told of each."""
    blocks = [block for message in messages for block in message["content"] if isinstance(block, dict)]
    results = {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}
    calls = [
        (block["name"], json.dumps(block["input"]), block["id"]) for block in blocks if block["type"] == "tool_use"
    ]
    told = [(name, given, json.dumps(results[ident])) for name, given, ident in calls]
    return [call for call in told if not was_interrupted(call[2])]


def was_interrupted(told: str) -> bool:
    return any(why in told for why in (UNFINISHED, NOT_STARTED, ANOTHER_RUNNER))
