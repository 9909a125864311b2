"""The facts a journal holds, as frozen values, to and from JSON lines.

Everything a user sees (terminal, report, cost, history for the next request) is a fold over these. Events with
`durable = False` are for live display only and are never written.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from dockwright.claim import Claim

JsonObject = dict[str, JsonValue]
Status = Literal[
    "verified", "done", "checks_failed", "unverified", "limit", "refused", "model_error", "sandbox_lost",
    "config_error", "interrupted", "bug",
]  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


class _Event(BaseModel):
    """`at` is the wall clock of the host, UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    durable: ClassVar[bool] = True
    at: datetime = Field(default_factory=_now)


class Usage(BaseModel):
    """Tokens of one or many model answers, as the Messages API counts them: input excludes cached tokens."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0

    @property
    def read(self) -> int:
        """All that the model read, from the cache or not."""
        return self.input_tokens + self.cache_read_input_tokens + self.cache_creation_input_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.model_fields})


class RunStarted(_Event):
    """First line of a run's journal. `base` is the commit the agent starts from, `repo` the path the user named."""

    type: Literal["run.started"] = "run.started"
    run: str
    version: str
    task: str
    agent: str
    agent_sha256: str
    model: str
    repo: str
    base: str | None = None
    head: str | None = None
    carried: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


class Resumed(_Event):
    """A process took the run up again, after `turn`; the process before was killed, or ended it too early."""

    type: Literal["run.resumed"] = "run.resumed"
    run: str
    version: str
    turn: int


class SandboxStarted(_Event):
    """`purpose` is "work" or "proof"; `seconds` the time until the runner answered. `found` is what was still there of
    the run's own: nothing, the files of the workspace, or the whole sandbox."""

    type: Literal["sandbox.started"] = "sandbox.started"
    purpose: Literal["work", "proof"]
    backend: str
    id: str
    image: str
    network: str
    seconds: float
    found: Literal["nothing", "workspace", "all"] = "nothing"


class BoundaryTested(_Event):
    """Getting out of a sandbox was tried from inside it: what each probe met, and which of them found a way out."""

    type: Literal["boundary.tested"] = "boundary.tested"
    purpose: Literal["work", "proof"]
    outcomes: dict[str, str]
    leaks: tuple[str, ...]
    seconds: float


class ServiceStarted(_Event):
    """A service beside the sandbox answers, after `seconds`, at this port of the sandbox's loopback."""

    type: Literal["service.started"] = "service.started"
    purpose: Literal["work", "proof"]
    name: str
    image: str
    port: int
    seconds: float


class ServiceDied(_Event):
    """A service ended by itself; `back` says whether it answers again, `seconds` how long that took."""

    type: Literal["service.died"] = "service.died"
    name: str
    reason: str
    back: bool
    seconds: float = 0.0


class SessionStarted(_Event):
    """What every request of this session starts with; enough to send the same request again."""

    type: Literal["session.started"] = "session.started"
    model: str
    system: tuple[JsonObject, ...]
    tools: tuple[JsonObject, ...]


class Prompted(_Event):
    """A user message (the task, a chat line, or a word of the harness) as Messages API content blocks."""

    type: Literal["prompted"] = "prompted"
    content: tuple[JsonObject, ...]
    source: Literal["user", "harness"] = "user"


class TurnStarted(_Event):
    """A request is about to be sent. `turn` counts from 1 over the whole session."""

    type: Literal["turn.started"] = "turn.started"
    turn: int


class ModelRetried(_Event):
    """An attempt failed and the same request will be sent again after `delay` seconds."""

    type: Literal["model.retried"] = "model.retried"
    turn: int
    attempt: int
    reason: str
    delay: float


class TextDelta(_Event):
    """Live only: more of the answer's text or thinking."""

    durable = False
    type: Literal["text.delta"] = "text.delta"
    kind: Literal["text", "thinking"]
    text: str


class AnswerStarted(_Event):
    """The blocks of an answer that were complete when its first tool call started, ahead of `answered`.

    Superseded by the `answered` of the same turn; after a crash it is what is known of the answer."""

    type: Literal["answer.started"] = "answer.started"
    turn: int
    content: tuple[JsonObject, ...]


class Answered(_Event):
    """One whole assistant message, content blocks untouched (signatures included).

    `stop_reason` is the API's, or "cut" where the stream broke after a tool call had started. `cost` is in US
    dollars, None where the price of the model is unknown."""

    type: Literal["answered"] = "answered"
    turn: int
    id: str
    model: str
    content: tuple[JsonObject, ...]
    stop_reason: str
    usage: Usage
    cost: float | None
    seconds: float


class Compacted(_Event):
    """The conversation up to the end of `turn` was replaced by `content`, a user message with the task, a summary and
    the open files; turns from `kept_from` on follow it as they were. `usage`, `cost` and `seconds` are the summary's;
    `tokens` is how large the conversation was."""

    type: Literal["compacted"] = "compacted"
    turn: int
    kept_from: int
    content: tuple[JsonObject, ...]
    tokens: int
    usage: Usage
    cost: float | None
    seconds: float


class ToolStarted(_Event):
    type: Literal["tool.started"] = "tool.started"
    turn: int
    id: str
    name: str
    input: JsonObject


class ToolOutput(_Event):
    """Live only: output of a running call, decoded, as it comes."""

    durable = False
    type: Literal["tool.output"] = "tool.output"
    id: str
    text: str


class ToolFinished(_Event):
    """`content` is the tool_result content that the model reads; `details` is for people and the report. `context` is
    what the call changed for later ones: the shell's "cwd", and "seen", file -> sha256 or null."""

    type: Literal["tool.finished"] = "tool.finished"
    turn: int
    id: str
    name: str
    content: str | tuple[JsonObject, ...]
    is_error: bool
    details: JsonObject = {}
    context: JsonObject = {}
    seconds: float


class CheckpointMade(_Event):
    """The workspace as a commit in the run's own repository, after a call that changed something and before its result.

    `git` names what was kept of the workspace's own repository: None as it was at first, "" where it could not be kept.
    `services` names the kept state of the databases."""

    type: Literal["checkpoint.made"] = "checkpoint.made"
    turn: int
    commit: str
    tree: str
    git: str | None = None
    services: str | None = None


class Restored(_Event):
    """The workspace and the conversation went back to the end of `turn` (0: before the first). `git` and `services` are
    those of its checkpoint."""

    type: Literal["restored"] = "restored"
    turn: int
    commit: str
    git: str | None = None
    services: str | None = None


class Reported(_Event):
    """The persona's return, as submitted: section -> field -> text."""

    type: Literal["reported"] = "reported"
    summary: str
    sections: dict[str, dict[str, str]]


class ClaimsJudged(_Event):
    """The report held against what the harness knows, after the proof."""

    type: Literal["claims.judged"] = "claims.judged"
    claims: tuple[Claim, ...]


class ProofStarted(_Event):
    """A proof of `commit` begins; what one before it found no longer counts. `attempt` counts from 1.

    `changed_check_files` are files that the checks stand on and that the agent changed."""

    type: Literal["proof.started"] = "proof.started"
    commit: str
    attempt: int = 1
    changed_check_files: tuple[str, ...] = ()


class CheckFinished(_Event):
    """A check executed by us in a clean sandbox. `exit_code` is None where it was stopped by its timeout.

    `on` is what it was run on: the base commit plus the patch, the same with the files that checks stand on as they
    were, or the base commit alone. `facts` has more, by kind, as the `schema_diff` of migrations."""

    type: Literal["check.finished"] = "check.finished"
    kind: Literal["command", "probe", "migrations"] = "command"
    on: Literal["patch", "patch with the checks of base", "base"] = "patch"
    command: str
    exit_code: int | None
    output: str
    seconds: float
    facts: JsonObject = {}


class NetworkAsked(_Event):
    """Something in the sandbox asked for a host; `denied` is the reason where the policy said no. `call` is the id of
    the tool call that ran then; None where there was none, as in a proof."""

    type: Literal["network.asked"] = "network.asked"
    host: str
    port: int
    denied: str | None = None
    call: str | None = None


class Delivered(_Event):
    """`branch` is None where the user's repository could not take it; `patch` is a path on the host.

    `left_out` names what stayed in the sandbox and why, `notes` what to know before merging."""

    type: Literal["delivered"] = "delivered"
    branch: str | None
    commit: str | None
    patch: str
    files: int
    insertions: int
    deletions: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Noted(_Event):
    """A word to the user: something was left out, denied, slow or odd."""

    type: Literal["noted"] = "noted"
    level: Literal["info", "warning", "error"] = "info"
    text: str


class RunFinished(_Event):
    type: Literal["run.finished"] = "run.finished"
    status: Status
    exit_code: int
    reason: str = ""


Event = (
    RunStarted | Resumed | SandboxStarted | BoundaryTested | SessionStarted | Prompted | TurnStarted | ModelRetried
    | TextDelta | AnswerStarted | Answered | Compacted | ToolStarted | ToolOutput | ToolFinished | CheckpointMade
    | Restored | Reported | ProofStarted | CheckFinished | ClaimsJudged | NetworkAsked | ServiceStarted | ServiceDied
    | Delivered | Noted | RunFinished
)  # fmt: skip

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


def to_line(event: Event) -> bytes:
    """One line of ASCII JSON, newline included; lone surrogates survive as escapes."""
    try:
        text = event.model_dump_json(ensure_ascii=True)
    except PydanticSerializationError:  # a lone surrogate, which pydantic neither writes nor reads
        text = json.dumps(_finite(event.model_dump(mode="json")), allow_nan=False)
    return text.encode("ascii") + b"\n"


def _finite(value: JsonValue) -> JsonValue:
    """Null for the numbers that JSON does not have, as pydantic writes them."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list():
            return [_finite(item) for item in value]
    return value


def from_line(line: bytes) -> Event:
    """Raises ValueError (pydantic's ValidationError or json's JSONDecodeError) where the line is not an event."""
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError:
        return _ADAPTER.validate_python(json.loads(line))
