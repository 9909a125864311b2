"""The facts that a report may stand on: commands of this run, checks of its proof, files as they were handed over.

All of it is a fold over the journal. A command is named by its id (`e3`), its words, what it was described as, or how
one of its parts begins; of several that fit, the last one counts, for that is how things are now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dockwright.claim import Evidence
from dockwright.events import CheckFinished, Event, ProofStarted, SandboxStarted, ToolFinished, ToolStarted
from dockwright.sandbox import WORKSPACE
from dockwright.ui.words import MARK

_TESTING = re.compile(
    r"\b(pytest|py\.test|unittest|tox|nox|jest|vitest|mocha|rspec|phpunit|ctest"
    r"|(npm|pnpm|yarn|bun|go|cargo|mvn|gradle|gradlew|dotnet|mix|manage\.py|make)\s+(run\s+)?(test|check|verify)\w*)\b"
)
_SHOWN = 2000  # characters at the end of an output that are kept with the evidence
_LISTED, _LISTED_WIDTH = 30, 120


def marks(text: str) -> list[str]:
    """What is named in double brackets, in order."""
    return [" ".join(found.strip().strip("`").split()) for found in MARK.findall(text)]


def path_of(reference: str) -> str:
    """A reference as a path below the workspace."""
    return reference.removeprefix(f"{WORKSPACE}/").removeprefix("./")


def is_test(command: str) -> bool:
    return _TESTING.search(command) is not None


@dataclass
class Ledger:
    """`calls` are the Bash calls of the run in order, `checks` those of the last proof, `files` known files with their
    sha256. `about` maps what a call was described as to its command."""

    calls: list[Evidence] = field(default_factory=list)
    checks: list[Evidence] = field(default_factory=list)
    files: Mapping[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event], files: Mapping[str, str] | None = None) -> Ledger:
        ledger = cls(files=files or {})
        started: dict[str, ToolStarted] = {}
        places = {"work": "", "proof": ""}
        for event in events:
            match event:
                case SandboxStarted(purpose=purpose, id=place):
                    places[purpose] = place
                case ToolStarted(id=id_, name="Bash"):
                    started[id_] = event
                case ToolFinished(id=id_, name="Bash") if id_ in started:
                    ledger._add_call(started.pop(id_), event, places["work"])
                case ProofStarted():
                    ledger.checks.clear()
                case CheckFinished() if event.on != "base":
                    ledger._add_check(event, places["proof"])
                case _:
                    pass
        return ledger

    def _add_call(self, started: ToolStarted, event: ToolFinished, place: str) -> None:
        command = " ".join(str(started.input.get("command", "")).split())
        code, output = event.details.get("exit_code"), event.details.get("output_file")
        content = event.content if isinstance(event.content, str) else ""
        self.calls.append(
            Evidence(
                id=f"e{len(self.calls) + 1}", kind="call", name=command, failed=event.is_error,
                exit_code=code if isinstance(code, int) else None, at=started.at, seconds=round(event.seconds, 3),
                container=place, output=content[-_SHOWN:], output_file=output if isinstance(output, str) else None,
            )
        )  # fmt: skip
        if about := " ".join(str(started.input.get("description", "")).split()):
            self.about[about] = command

    def _add_check(self, check: CheckFinished, place: str) -> None:
        self.checks.append(
            Evidence(
                id=f"p{len(self.checks) + 1}", kind="check", name=" ".join(check.command.split()),
                failed=check.exit_code != 0, exit_code=check.exit_code, at=check.at, seconds=check.seconds,
                container=place, output=check.output[-_SHOWN:],
            )
        )  # fmt: skip

    def resolve(self, reference: str) -> Evidence | None:
        """The newest fact that a reference means; a check of the proof before a call of the agent's."""
        known = {fact.id: fact for fact in (*self.calls, *self.checks)}
        name = known[reference].name if reference in known else self.about.get(reference, reference)
        if same := [fact for fact in (*self.calls, *self.checks) if fact.name == name]:
            return same[-1]
        path = path_of(reference)
        if path in self.files:
            return Evidence(id=path, kind="file", name=path, sha256=self.files[path])
        beginning = re.compile(rf"(?:^|[;&|(]\s*){re.escape(name)}(?![\w./-])")
        part_of = [fact for fact in (*self.calls, *self.checks) if len(name) > 3 and beginning.search(fact.name)]
        return part_of[-1] if part_of else None

    @property
    def last_test(self) -> Evidence | None:
        return next((call for call in reversed(self.calls) if is_test(call.name)), None)

    @property
    def listing(self) -> str:
        """The commands that can be named, a line each, newest last."""
        shown = {call.name: call for call in self.calls}
        lines = [
            f"- {call.id} {call.name[:_LISTED_WIDTH]}: "
            + ("in the background" if call.exit_code is None else f"exit code {call.exit_code}")
            for call in shown.values()
        ]
        return "\n".join(lines[-_LISTED:]) or "- none: no command was run"
