"""A conversation that nears the end of the model's window goes on from a summary of itself.

The model writes the summary. What must not be lost to a summary is put back word for word: what the user said, the
files at hand as they are now, the jobs that run; the system prompt, with the persona and the rules, is sent anyway. The
newest turns stay as they were. All of it is in the event, so that a fold over the journal gives the same conversation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dockwright.errors import ContextFull, ModelError, SandboxLost
from dockwright.events import Compacted, JsonObject
from dockwright.history import History
from dockwright.model import Answer, Model
from dockwright.tools.base import ToolContext
from dockwright.tools.output import BYTES_PER_TOKEN, head_and_tail

FULL = 0.8  # of the window: when to summarise
_KEPT = 0.1  # of the window: how much of the newest turns stays as it was
_UNKNOWN_WINDOW = 200_000
_MOST_FILES, _FILE_BYTES = 6, 32_000
_MOST_SAID = 60_000  # characters
_SHORT = 1_000  # characters of a tool result, where even the summary does not fit
_ASK = """The conversation nears the end of your context window. It will go on from a summary, which you write now. \
Call no tool. The task, what the user said and the files at hand will be there again word for word: do not repeat \
them. Write down, in full and with the names of files, commands and values:
1. What is finished and was seen to work, so that it is not done again, and how it was checked.
2. What is being done just now, and what is left to do, in its order.
3. What was decided and why, and what was tried and did not work.
4. What was learned about the code, the environment and its commands that will be needed again.
5. The evidence that the report will need: which commands were run, and what came of them."""
_ASK_AGAIN = "Call no tool now; none will be run. Answer with the summary, in text."
_HEAD = "The conversation up to here was summarised, because it neared the end of the context window. It goes on."
_SAID = "What the user said, word for word:"
_SUMMARY = "Your summary of what was done so far:"
_GO_ON = "Go on with what is left. What is finished stays finished: do not start it again."


def is_near_the_end(model: Model, history: History) -> bool:
    return history.tokens >= FULL * (model.window or _UNKNOWN_WINDOW)


async def compact(
    model: Model, system: Sequence[JsonObject], tools: Sequence[JsonObject], history: History, context: ToolContext,
    *, overflown: bool,
) -> Compacted:  # fmt: skip
    """Have the conversation summarised. `overflown` is that it does not fit as it is. Raises ModelError."""
    answer, text = await _summary(model, system, tools, history.messages(), overflown=overflown)
    kept_from = _kept_from(model, history, overflown=overflown)
    said = history.said_by_user(kept_from)
    content: list[JsonObject] = [
        _text(_HEAD),
        *([_text(_SAID), *_bounded(said)] if said else []),
        _text(f"{_SUMMARY}\n{text}"),
        *await _open_files(history, context),
        *_jobs(context),
        _text(_GO_ON),
    ]
    return Compacted(
        turn=history.turn, kept_from=kept_from, content=tuple(content), tokens=history.tokens, usage=answer.usage,
        cost=answer.cost, seconds=answer.seconds,
    )  # fmt: skip


async def _summary(
    model: Model, system: Sequence[JsonObject], tools: Sequence[JsonObject], messages: list[JsonObject], *,
    overflown: bool,
) -> tuple[Answer, str]:  # fmt: skip
    """Asked with the same system, tools and history, so that the cache holds; shortened where it does not fit."""
    ask, short = _ASK, overflown
    for _ in range(3):
        request = _with(_shortened(messages) if short else messages, ask)
        try:
            answer = await model.answer(system=system, tools=tools, messages=request)
        except ContextFull:
            if short:
                raise
            short = True
            continue
        text = "".join(str(block["text"]) for block in answer.content if block["type"] == "text").strip()
        if text and answer.stop_reason != "model_context_window_exceeded":
            return answer, text
        short = short or answer.stop_reason == "model_context_window_exceeded"
        ask = f"{_ASK}\n\n{_ASK_AGAIN}"
    raise ModelError(
        "The conversation nears the end of the model's context window, and the model did not summarise it. "
        "What was done so far is kept. Split the task, or start a new session on what was done."
    )


def _with(messages: Sequence[JsonObject], ask: str) -> list[JsonObject]:
    """The messages with a last word of the user's, who may have had it anyway."""
    *before, last = messages
    if last["role"] != "user":
        return [*messages, {"role": "user", "content": [_text(ask)]}]
    content: Any = last["content"]
    return [*before, {"role": "user", "content": [*content, _text(ask)]}]


def _shortened(messages: Sequence[JsonObject]) -> list[JsonObject]:
    contents: list[Any] = [message["content"] for message in messages]
    return [
        {"role": message["role"], "content": [_short(block) for block in content]}
        for message, content in zip(messages, contents, strict=True)
    ]


def _short(block: JsonObject) -> JsonObject:
    """A tool result or an input by its beginning and its end; the rest was read when it was new."""
    match block:
        case {"type": "tool_result", "content": str(text)}:
            return {**block, "content": head_and_tail(text, _SHORT)}
        case {"type": "tool_result"}:
            return {**block, "content": "(left out)"}
        case {"type": "tool_use", "input": dict(given)}:
            short = {key: head_and_tail(v, _SHORT) if isinstance(v, str) else v for key, v in given.items()}
            return {**block, "input": short}
        case _:
            return block


def _kept_from(model: Model, history: History, *, overflown: bool) -> int:
    """The first of the newest turns that stay, as many as are small together; none where nothing fits any more."""
    room = 0.0 if overflown else _KEPT * (model.window or _UNKNOWN_WINDOW) * BYTES_PER_TOKEN
    first = history.turn + 1
    for turn, size in history.sizes():
        room -= size
        if room < 0:
            break
        first = turn
    return first


def _bounded(said: Sequence[JsonObject]) -> list[JsonObject]:
    """The task and the newest words; where it was very much, what was said in between is left out."""
    first, *rest = said
    room, newest = _MOST_SAID - len(str(first.get("text", ""))), list[JsonObject]()
    for block in reversed(rest):
        room -= len(str(block.get("text", "")))
        if room < 0:
            return [first, _text("[Some of what was said in between is left out.]"), *newest[::-1]]
        newest.append(block)
    return [first, *newest[::-1]]


async def _open_files(history: History, context: ToolContext) -> list[JsonObject]:
    """The files that were read or written last, as they are now."""
    paths = [path for call in reversed(history.calls) if isinstance(path := call.input.get("file_path"), str)]
    found: list[JsonObject] = []
    for path in dict.fromkeys(context.resolve(path) for path in paths):
        if len(found) == _MOST_FILES:
            break
        try:
            text = (await context.sandbox.read(path, limit=_FILE_BYTES + 1)).decode()
        except SandboxLost:
            raise
        except (OSError, UnicodeDecodeError):
            continue
        if len(text.encode()) > _FILE_BYTES:
            found.append(_text(f"The file {path} is at hand, too; it is long: Read what you need of it."))
        else:
            found.append(_text(f"The file {path} as it is now:\n{text}"))
    return found


def _jobs(context: ToolContext) -> list[JsonObject]:
    if not context.jobs:
        return []
    lines = "\n".join(f"- {job}: {command}" for job, command in context.jobs.items())
    return [_text(f"Background jobs that were started:\n{lines}")]


def _text(text: str) -> JsonObject:
    return {"type": "text", "text": text}
