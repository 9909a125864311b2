"""What came of a run, as one value: a fold over its events, and the type that users script against.

`RunResult()` is a run of which nothing is known yet; each event gives the next result. So a result is right at every
moment, while the run goes on and after a crash, and a journal is all it takes to have it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from dockwright.claim import Claim
from dockwright.errors import ExitCode
from dockwright.events import (
    Answered,
    CheckFinished,
    ClaimsJudged,
    Compacted,
    Delivered,
    Event,
    NetworkAsked,
    Noted,
    Prompted,
    ProofStarted,
    Reported,
    Restored,
    Resumed,
    RunFinished,
    RunStarted,
    SandboxStarted,
    Status,
    ToolFinished,
    TurnStarted,
    Usage,
)

_OUTCOMES: dict[Status, tuple[ExitCode, str]] = {
    "verified": (ExitCode.OK, "Every check passed in a clean sandbox, from the base commit plus the patch."),
    "done": (ExitCode.OK, "The agent finished; no check was asked for, so nothing was proven."),
    "checks_failed": (ExitCode.CHECKS_FAILED, "At least one check failed in the clean sandbox."),
    "unverified": (
        ExitCode.UNVERIFIED,
        "The agent says it is done, but there is no report, no change, or a claim against its evidence.",
    ),
    "limit": (ExitCode.LIMIT, "A limit on turns, money or time was reached; the work so far is kept."),
    "refused": (ExitCode.REFUSED, "The model refused the task."),
    "model_error": (ExitCode.MODEL, "The model API failed for good; the work so far is kept."),
    "sandbox_lost": (ExitCode.SANDBOX, "The sandbox was lost or could not be started."),
    "config_error": (ExitCode.CONFIG, "The configuration, the persona, the task or a flag is wrong."),
    "interrupted": (ExitCode.INTERRUPTED, "The run was stopped before its end."),
    "bug": (ExitCode.BUG, "Something is wrong in dockwright itself; please report it with the journal."),
}
ENDED: frozenset[Status] = frozenset({"verified", "done", "checks_failed", "unverified", "refused"})  # for good
_NOT_ENDED: dict[str, object] = {
    "status": "interrupted",
    "exit_code": int(ExitCode.INTERRUPTED),
    "reason": "the run has not ended",
}


class RunResult(BaseModel):
    """A run that has not ended has the status "interrupted" and says so in `reason`.

    `cost` is in US dollars, and None as soon as the price of one answer is unknown. `turns` counts model answers,
    `tool_calls` the finished calls by tool name. `seconds` is the time from the first event to the last. `checks` are
    those of the last proof, `baseline` the same on the base commit alone where that was asked for, and
    `changed_check_files` what the checks stand on and the agent changed. `claims` are the report's, with the verdict on
    each. `patch` is a path on the host. `network` is what was asked of the network, denied or not. `resumed`
    is how often the run was taken up again.
    """

    model_config = ConfigDict(frozen=True)
    run: str = ""
    status: Status = "interrupted"
    exit_code: int = int(ExitCode.INTERRUPTED)
    reason: str = "the run has not ended"
    task: str = ""
    agent: str = ""
    model: str = ""
    repo: str = ""
    base: str | None = None
    carried: tuple[str, ...] = ()
    branch: str | None = None
    commit: str | None = None
    patch: str | None = None
    summary: str = ""
    sections: dict[str, dict[str, str]] = {}
    claims: tuple[Claim, ...] = ()
    checks: tuple[CheckFinished, ...] = ()
    baseline: tuple[CheckFinished, ...] = ()
    changed_check_files: tuple[str, ...] = ()
    delivered: Delivered | None = None
    usage: Usage = Usage()
    cost: float | None = 0.0
    turns: int = 0
    tool_calls: dict[str, int] = {}
    tool_errors: int = 0
    started: datetime | None = None
    seconds: float = 0.0
    notes: tuple[Noted, ...] = ()
    network: tuple[NetworkAsked, ...] = ()
    left_out: tuple[str, ...] = ()
    resumed: int = 0

    @property
    def has_ended(self) -> bool:
        return self.reason != _NOT_ENDED["reason"]

    @classmethod
    def from_events(cls, events: Iterable[Event]) -> RunResult:
        result = cls()
        for event in events:
            result = result.after(event)
        return result

    def after(self, event: Event) -> RunResult:
        """The result once `event` has happened, too."""
        if not event.durable:
            return self
        started = self.started or event.at
        seconds = max(0.0, (event.at - started).total_seconds())
        return self.model_copy(update={"started": started, "seconds": seconds, **self._changed_by(event)})

    def _changed_by(self, event: Event) -> dict[str, object]:
        match event:
            case RunStarted():
                named = event.model_dump(include={"run", "task", "agent", "model", "repo", "base", "carried"})
                return named | _NOT_ENDED
            case ProofStarted():
                return {"checks": (), "baseline": (), "changed_check_files": event.changed_check_files, **_NOT_ENDED}
            case SandboxStarted(purpose="proof"):
                return dict(_NOT_ENDED)
            case Resumed():
                return {"resumed": self.resumed + 1, **_NOT_ENDED}
            case Prompted() | TurnStarted():  # a run that had ended is taken up again
                return dict(_NOT_ENDED)
            case Restored():
                return {"summary": "", "sections": {}, "checks": (), **_NOT_ENDED}
            case Answered(usage=usage, cost=cost):
                return {"turns": self.turns + 1, "usage": self.usage + usage, "cost": _sum(self.cost, cost)}
            case Compacted(usage=usage, cost=cost):
                return {"usage": self.usage + usage, "cost": _sum(self.cost, cost)}
            case ToolFinished(name=name, is_error=is_error):
                calls = self.tool_calls | {name: self.tool_calls.get(name, 0) + 1}
                return {"tool_calls": calls, "tool_errors": self.tool_errors + is_error}
            case Reported(summary=summary, sections=sections):
                return {"summary": summary, "sections": sections}
            case ClaimsJudged(claims=claims):
                return {"claims": claims}
            case CheckFinished(on="base"):
                return {"baseline": (*self.baseline, event)}
            case NetworkAsked():
                return {"network": (*self.network, event)}
            case CheckFinished():
                return {"checks": (*self.checks, event)}
            case Delivered():
                copied = event.model_dump(include={"branch", "commit", "patch", "left_out"})
                return {"delivered": event, **copied}
            case Noted():
                return {"notes": (*self.notes, event)}
            case RunFinished(status=status, exit_code=exit_code, reason=reason):
                return {"status": status, "exit_code": exit_code, "reason": reason}
            case _:
                return {}


def exit_code_of(status: Status) -> ExitCode:
    return _OUTCOMES[status][0]


def meaning(status: Status) -> str:
    """One plain sentence for people."""
    return _OUTCOMES[status][1]


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
