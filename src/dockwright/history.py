"""The conversation as a fold over events: what the next request sends, and what was spent.

A session adds the events as they happen; those of a journal, added at once, give the same. So a session can stop at
any event. Whatever is missing after a crash or an interrupt, every tool_use gets exactly one tool_result.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from pydantic import JsonValue

from dockwright.events import (
    Answered,
    AnswerStarted,
    Compacted,
    Event,
    JsonObject,
    Prompted,
    Restored,
    Resumed,
    SessionStarted,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)

_Item = Prompted | AnswerStarted | Answered | Compacted
_ANSWERS = (AnswerStarted, Answered)
UNFINISHED = "Interrupted before it finished. What it had done by then stands."
NOT_STARTED = "Not run: the turn was interrupted before."


class History:
    """`turn` is that of the last request. `cost` is in US dollars, of the answers whose price is known."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.turn = 0
        self.cost = 0.0
        self.started: SessionStarted | None = None
        self._items: list[_Item] = []
        self._starts: dict[int, int] = {}  # how many items there were when a turn started
        self._calls: dict[str, ToolStarted] = {}
        self.used_ids: set[str] = set()  # of calls, also of those that a summary replaced
        self._results: dict[str, ToolFinished] = {}
        self._settled: list[JsonObject] = []  # the messages of the turns before the last answer,
        self._folded = 0  # which are folded once: how many items are in them
        self._summary = -1  # where the newest is among the items
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        match event:
            case SessionStarted():
                self.started = event
            case Resumed():
                self._ask_again()
            case Compacted():
                self.cost += event.cost or 0.0
                self._ask_again()
                self._items.append(event)
                self._fold_anew()
            case TurnStarted(turn=turn):
                self.turn = turn
                self._starts[turn] = len(self._items)
            case Prompted() | AnswerStarted():
                self._items.append(event)
            case Answered():
                self.cost += event.cost or 0.0
                self.used_ids.update(_ids(event))
                at = self._starts.get(event.turn, 0)
                self._items[at:] = [*(item for item in self._items[at:] if not _is_start(item, event.turn)), event]
            case ToolStarted():
                self._calls[event.id] = event
                self.used_ids.add(event.id)
            case ToolFinished():
                self._results[event.id] = event
            case Restored(turn=turn):
                self._items = self._items[: self._end(turn)]
                self._fold_anew()

    def _ask_again(self) -> None:
        """Where its answer never came, a turn is not counted."""
        if not any(not isinstance(item, Prompted) and item.turn == self.turn for item in self._items):
            self.turn -= self.turn in self._starts

    @property
    def tokens(self) -> int:
        """How large the conversation was at its last answer, that answer included; 0 where none tells."""
        last = next((item for item in reversed(self._items) if isinstance(item, Answered | Compacted)), None)
        return sum(last.usage.model_dump().values()) if isinstance(last, Answered) else 0

    def said_by_user(self, before: int) -> list[JsonObject]:
        """All that the user said before a turn and what led to it, the task first."""
        said = self._items[: self._end(before - 1)]
        prompts = (item for item in said if isinstance(item, Prompted) and item.source == "user")
        return [block for prompt in prompts for block in prompt.content]

    @property
    def calls(self) -> list[ToolStarted]:
        """The calls that were started, the oldest first."""
        return list(self._calls.values())

    @property
    def last_answer(self) -> Answered | None:
        """The answer with which the conversation stopped, if nothing was asked after it."""
        last = self._items[-1] if self._items else None
        return last if isinstance(last, Answered) else None

    @property
    def is_over(self) -> bool:
        """Whether the model ended its turn and nothing was asked after that."""
        last = self.last_answer
        if last is None or last.stop_reason in ("pause_turn", "max_tokens"):
            return False
        return not any(block["type"] == "tool_use" for block in last.content)

    def ends_with(self, text: str) -> bool:
        """Whether the model was just told this."""
        last = self._items[-1] if self._items else None
        return isinstance(last, Prompted) and last.content[-1].get("text") == text

    def left(self, answer: Answered) -> list[JsonObject]:
        """Its calls that never started; none where one of them was stopped halfway, on which the others may depend."""
        calls = [block for block in answer.content if block["type"] == "tool_use"]
        if any(block["id"] in self._calls and block["id"] not in self._results for block in calls):
            return []
        return [block for block in calls if block["id"] not in self._calls]

    def messages(self) -> list[JsonObject]:
        """User and assistant messages; consecutive user content is one message, results first."""
        last = next((i for i in reversed(range(len(self._items))) if isinstance(self._items[i], _ANSWERS)), 0)
        if self._folded == 0:
            for item in self._before():
                self._fold(self._settled, item)
            self._folded = self._summary + 1
        for item in self._items[self._folded : last]:
            self._fold(self._settled, item)
        self._folded = max(self._folded, last)
        said = [*self._settled]
        if said:
            said[-1] = {**said[-1], "content": [*cast(list[JsonValue], said[-1]["content"])]}
        for item in self._items[self._folded :]:
            self._fold(said, item)
        return said

    def _fold(self, said: list[JsonObject], item: _Item) -> None:
        if isinstance(item, Prompted | Compacted):
            _say(said, "user", item.content)
            return
        content = self._content(item)
        _say(said, "assistant", content)
        _say(said, "user", [self._result(block) for block in content if block["type"] == "tool_use"])

    def _fold_anew(self) -> None:
        """What was folded does not hold any more."""
        self._settled, self._folded = [], 0
        at = (i for i in reversed(range(len(self._items))) if isinstance(self._items[i], Compacted))
        self._summary = next(at, -1)

    def _before(self) -> list[_Item]:
        """The newest summary and what it kept, if there is one."""
        if self._summary < 0:
            return []
        summary = self._items[self._summary]
        assert isinstance(summary, Compacted)  # noqa: S101 - for the type checker
        kept = self._items[self._end(summary.kept_from - 1, self._summary) : self._summary]
        return [summary, *(item for item in kept if not isinstance(item, Compacted))]

    def sizes(self) -> list[tuple[int, int]]:
        """Of each answered turn that the next request has, the newest first: its number and about how many bytes it
        is, what was asked before it included."""
        sizes: list[tuple[int, int]] = []
        size = 0
        for item in (*self._before(), *self._items[self._summary + 1 :]):
            if isinstance(item, Compacted):
                continue
            size += len(item.model_dump_json())
            if isinstance(item, Answered):
                size += sum(len(self._results[i].model_dump_json()) for i in _ids(item) if i in self._results)
                sizes.append((item.turn, size))
                size = 0
        return sizes[::-1]

    def _end(self, turn: int, before: int | None = None) -> int:
        """Where the items up to the end of a turn end; what was asked before it stays, answered or not."""
        items = enumerate(self._items[:before])
        answers = (i + 1 for i, item in items if not isinstance(item, Prompted) and item.turn <= turn)
        return max(self._starts.get(turn, 0), *answers, 0)

    def _content(self, answer: AnswerStarted | Answered) -> list[JsonObject]:
        """The blocks that the API takes back: none without text in it; all calls that had started by a crash."""
        content = [block for block in answer.content if not is_blank(block)]
        if isinstance(answer, AnswerStarted):
            known = {block.get("id") for block in content}
            lost = (call for call in self._calls.values() if call.turn == answer.turn and call.id not in known)
            content += ({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input} for call in lost)
        return content

    def _result(self, call: JsonObject) -> JsonObject:
        finished = self._results.get(str(call["id"]))
        if finished is None:
            why = UNFINISHED if call["id"] in self._calls else NOT_STARTED
            return {"type": "tool_result", "tool_use_id": call["id"], "content": why, "is_error": True}
        content: JsonValue = finished.content if isinstance(finished.content, str) else [*finished.content]
        result: JsonObject = {"type": "tool_result", "tool_use_id": call["id"], "content": content}
        return {**result, "is_error": True} if finished.is_error else result


def _say(said: list[JsonObject], role: str, content: Iterable[JsonObject]) -> None:
    blocks = [block for block in content if not is_blank(block)]
    if not blocks:
        return
    if said and said[-1]["role"] == role == "user":
        cast(list[JsonValue], said[-1]["content"]).extend(blocks)
    else:
        said.append({"role": role, "content": cast(list[JsonValue], blocks)})


def is_blank(block: JsonObject) -> bool:
    return block["type"] == "text" and not str(block["text"]).strip()


def _ids(answer: Answered) -> list[str]:
    return [str(block["id"]) for block in answer.content if block["type"] == "tool_use"]


def _is_start(item: _Item, turn: int) -> bool:
    return isinstance(item, AnswerStarted) and item.turn == turn
