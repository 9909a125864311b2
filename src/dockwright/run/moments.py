"""The ends of the turns of a session, as a fold over its events: what can be gone back to, or begun from anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from dockwright.errors import ConfigError
from dockwright.events import (
    CheckpointMade,
    Event,
    Prompted,
    Restored,
    RunStarted,
    SandboxStarted,
    SessionStarted,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from dockwright.sandbox import WORKSPACE


@dataclass(frozen=True)
class Moment:
    """What was at the end of a turn; 0 is before the first. `commit`, `git` and `services` are those of the checkpoint,
    the rest is what a tool call depends on beside them."""

    turn: int = 0
    commit: str = ""
    git: str | None = None
    services: str | None = None
    cwd: str = WORKSPACE
    seen: Mapping[str, str] = field(default_factory=dict)
    jobs: frozenset[str] = frozenset()


class Moments:
    """`now` is the newest; `add` is a sink. A turn that was taken back is no more."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.now = Moment()
        self.restored = False  # whether nothing happened since it was gone back
        self.entered = False  # whether the sandbox that was started last was made ready to work in
        self._before: list[Moment] = []
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        self.entered |= isinstance(event, SessionStarted | Prompted | TurnStarted | ToolStarted)
        match event:
            case SandboxStarted(purpose="work", found="nothing"):
                self.entered = False
            case RunStarted(base=base):
                self.now = replace(self.now, commit=base or "")
            case TurnStarted(turn=turn):
                self.restored = False
                self._before = [moment for moment in (*self._before, self.now) if moment.turn != turn]
                self.now = replace(self.now, turn=turn)
            case CheckpointMade():
                self.now = replace(self.now, commit=event.commit, git=event.git, services=event.services)
            case ToolFinished():
                self.now = _after_call(self.now, event)
            case Restored(turn=turn):
                self.restored = True
                found = self.at(turn)
                self.now = replace(found, commit=event.commit, git=event.git, services=event.services)
                self._before = [moment for moment in self._before if moment.turn < turn]

    def at(self, turn: int) -> Moment:
        """The end of a turn. Raises ConfigError where there is no such turn any more."""
        for moment in (*self._before, self.now):
            if moment.turn == turn:
                return moment
        turns = ", ".join(str(moment.turn) for moment in (*self._before, self.now))
        raise ConfigError(f"There is no turn {turn} to go back to. There are: {turns} (0 is before the first).")

    def back(self, turns: int) -> Moment:
        """Where one is after taking back so many turns. Raises ConfigError where there are fewer."""
        if turns > len(self._before):
            raise ConfigError(f"{turns} turns cannot be taken back: there are {len(self._before)}.")
        return [*self._before, self.now][-1 - turns]


def _after_call(now: Moment, call: ToolFinished) -> Moment:
    seen = dict(now.seen)
    changed = call.context.get("seen")
    for path, digest in changed.items() if isinstance(changed, dict) else ():
        if isinstance(digest, str):
            seen[path] = digest
        else:
            seen.pop(path, None)
    job = call.details.get("job")
    jobs = now.jobs | {job} if isinstance(job, str) else now.jobs
    return replace(now, cwd=str(call.context.get("cwd", now.cwd)), seen=seen, jobs=jobs)
