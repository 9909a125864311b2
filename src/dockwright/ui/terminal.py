"""A run or a chat on a terminal: plain scrollback that grows line by line, and one live line below it.

The sink is told every event and prints what a person wants to know of it. It works the same from a journal, in a
pipe and without colour. A terminal that goes away never ends a run.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from dockwright import events
from dockwright.claim import Claim
from dockwright.result import ENDED, RunResult, meaning
from dockwright.ui.calls import asked, check_outcome, check_output, diff_style, last_words, outcome, worth_a_look
from dockwright.ui.page import Page
from dockwright.ui.prose import Prose
from dockwright.ui.status import StatusLine
from dockwright.ui.visible import visible
from dockwright.ui.words import amount, count, duration, money, status_style, status_words, verdicts, without_marks

_NAMED = 5  # things named before the rest is only counted
_FOUND = {"nothing": (), "workspace": ("its workspace was still there",), "all": ("it was still there",)}
_LEVEL_LABELS = {"info": "note", "warning": "warning", "error": "error"}
_LEVEL_STYLES = {"info": "", "warning": "yellow", "error": "red"}


@contextmanager
def unwatched(console: Console) -> Iterator[None]:
    """To print in: when the terminal or the pipe is gone, what comes after it is quiet."""
    try:
        yield
    except (OSError, SystemExit):  # rich answers a broken pipe with SystemExit
        console.quiet = True


class TerminalSink:
    """Shows events on `console`. `close` it before reading input, too; the next event brings the live line back."""

    def __init__(self, console: Console, verbose: bool = False, past: Iterable[events.Event] = ()) -> None:
        """`past` is what happened before, which counts and is not shown."""
        if isinstance(console.file, io.TextIOWrapper):
            console.file.reconfigure(errors="backslashreplace")  # what the encoding lacks is an escape, no error
        self._console = console
        self._page = Page(console)
        self._status = StatusLine(console)
        self._prose = Prose(self._page, {"text", "thinking"} if verbose else {"text"})
        self._streams = console.is_terminal
        self._verbose = verbose
        self._result = RunResult.from_events(past)
        self._running: dict[str, events.ToolStarted] = {}
        self._asked: set[tuple[str, int]] = set()  # hosts of the network that were shown

    def __enter__(self) -> TerminalSink:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, event: events.Event) -> None:
        self._result = self._result.after(event)
        with unwatched(self._console):
            self._show(event)

    def close(self) -> None:
        """Finish the line that is being written and take the live line away."""
        with unwatched(self._console):
            self._prose.flush()
            self._status.stop()

    def _show(self, event: events.Event) -> None:
        match event:
            case events.TextDelta(kind=kind, text=text):
                if self._streams:
                    self._prose.add(kind, text)
            case events.ToolOutput(text=text):
                self._status.add_output(text)
            case events.AnswerStarted(content=content) | events.Answered(content=content):
                self._prose.catch_up(content)
            case events.ToolStarted():
                self._prose.flush()
                self._running[event.id] = event
                self._status.show(self._doing(), self._result)
            case events.ToolFinished():
                self._tool_finished(event)
                self._status.show(self._doing(), self._result)
            case events.TurnStarted(turn=turn):
                self._prose.restart()
                self._running.clear()
                self._page.label = f"turn {turn}"
                self._status.show(self._doing(), self._result)
            case _:
                self._prose.flush()
                self._show_apart(event)

    def _show_apart(self, event: events.Event) -> None:
        """The events that stand alone, each with a label of its own."""
        page = self._page
        match event:
            case events.RunStarted():
                self._run_started(event)
            case events.Resumed(run=run, turn=turn):
                page.facts("resumed", *_bold(run), self._result.repo, f"after turn {turn}")
            case events.SandboxStarted():
                self._sandbox_started(event)
            case events.SessionStarted(model=model, tools=tools):
                page.facts("agent", *_bold(self._result.agent), count(len(tools), "tool"), model)
            case events.Prompted(source="harness", content=content):
                page.facts("told", Text(_first_line(_texts(content)), "dim"))
            case events.ModelRetried(attempt=attempt, reason=reason, delay=delay):
                self._prose.restart()
                again = f"attempt {attempt}: {reason}; trying again in {duration(delay)}"
                page.facts("retry", Text(again, "yellow"))
            case events.CheckpointMade(turn=turn, commit=commit) if self._verbose:
                page.facts("saved", Text(f"turn {turn} as {commit[:10]}", "dim"))
            case events.Compacted(tokens=tokens, cost=cost):
                page.facts("context", f"summarised at {amount(tokens)} tokens", money(cost))
            case events.Restored(turn=turn, commit=commit):
                page.facts("undone", f"back to the end of turn {turn} ({commit[:10]})")
            case events.BoundaryTested(purpose="work") | events.BoundaryTested(leaks=[_, *_]):
                self._boundary_tested(event)
            case events.NetworkAsked() if (event.host, event.port) not in self._asked:
                self._network_asked(event)
            case events.ServiceStarted(name=name, image=image, port=port, seconds=seconds):
                page.facts("service", name, image, f"port {port}", f"ready in {duration(seconds)}")
            case events.ServiceDied(name=name, reason=reason, back=back):
                again = "It was started again." if back else "It cannot be brought back."
                page.facts("service", Text(visible(f"{name} died: {reason}. {again}"), "yellow"))
            case events.Noted(level=level, text=text):
                page.facts(_LEVEL_LABELS[level], Text(text, _LEVEL_STYLES[level]))
            case events.ProofStarted(changed_check_files=changed) if changed:
                page.facts(
                    "changed", Text(f"the checks stand on {_named(changed, ', ')}, and run without, too", "yellow")
                )
            case events.CheckFinished():
                on = "" if event.on == "patch" else f"{event.on}: "
                page.row(Text(on + _first_line(event.command)), check_outcome(event), last_words(event), whole=True)
                page.excerpt(check_output(event))
            case events.ClaimsJudged(claims=claims) if claims:
                self._claims_judged(claims)
            case events.Reported():
                self._reported(event)
            case events.RunFinished():
                self._run_finished()

    def _run_started(self, event: events.RunStarted) -> None:
        base = f"base {event.base[:7]}" if event.base else "no commit to start from"
        carried = [f"{count(len(event.carried), 'uncommitted file')} carried in: {_named(event.carried, ', ')}"]
        self._page.facts("run", *_bold(event.run), event.repo, base, *(carried if event.carried else ()))
        self._page.facts("task", *([_first_line(event.task)] if event.task else ()))
        self._status.show("starting the sandbox", self._result)

    def _sandbox_started(self, event: events.SandboxStarted) -> None:
        image = re.sub(r"(sha256:[0-9a-f]{12})[0-9a-f]+", r"\1", event.image)
        ready = f"ready in {duration(event.seconds)}"
        if event.purpose == "proof":
            self._page.section("proof", "in a clean sandbox, from base and patch", image, ready)
            self._status.show("running the checks", self._result)
        else:
            found = _FOUND[event.found]
            self._page.facts("sandbox", event.backend, image, f"network {event.network}", ready, *found)
            self._status.show("preparing the workspace", self._result)

    def _boundary_tested(self, event: events.BoundaryTested) -> None:
        took = f"tested in {duration(event.seconds)}"
        if event.leaks:
            found = "; ".join(f"{name}: {event.outcomes.get(name, '')}" for name in event.leaks)
            self._page.facts("boundary", Text(f"not closed: {found}", "red"), took)
        else:
            self._page.facts("boundary", f"closed: {count(len(event.outcomes), 'way')} out tried, none open", took)

    def _network_asked(self, event: events.NetworkAsked) -> None:
        """A host is named once, however often a program tries."""
        self._asked.add((event.host, event.port))
        where = f"{event.host}:{event.port}"
        if event.denied is not None:
            self._page.facts("network", Text(f"{where} denied: {event.denied}", "yellow"))
        elif self._verbose:
            self._page.facts("network", Text(where, "dim"))

    def _tool_finished(self, event: events.ToolFinished) -> None:
        started = self._running.pop(event.id, None)
        call = asked(event.name, started.input if started else {})
        self._page.row(call, outcome(event), last_words(event))
        self._page.excerpt(worth_a_look(event, verbose=self._verbose))

    def _reported(self, event: events.Reported) -> None:
        page = self._page
        fields = sum(len(section) for section in event.sections.values())
        page.section("report", count(len(event.sections), "section"), count(fields, "field"))
        page.quote(without_marks(event.summary))
        names = min(max(map(len, event.sections), default=0), page.room // 2)
        for name, section in event.sections.items():
            if self._verbose:
                page.quote(name, "bold")
                for field, text in section.items():
                    page.quote(f"  {field}: {without_marks(text)}")
            else:
                page.excerpt([(f"{name:{names}}  {_first_line(without_marks(next(iter(section.values()), '')))}", "")])

    def _claims_judged(self, claims: tuple[Claim, ...]) -> None:
        self._page.facts("claims", verdicts(claims))
        for claim in claims:
            if claim.verdict == "refuted":
                self._page.facts("refuted", Text(f"{_first_line(claim.text)}: {claim.reason}", "red"))

    def _run_finished(self) -> None:
        page, result = self._page, self._result
        self._status.stop()
        code = (f" (exit code {result.exit_code})" if result.exit_code else "", "dim")
        status = Text.assemble((status_words(result.status), status_style(result.status)), code)
        page.section("result", status, meaning(result.status))
        if result.reason:
            page.facts("because", result.reason)
        delivered = result.delivered
        if delivered and delivered.files:
            size = f"{count(delivered.files, 'file')} +{delivered.insertions} -{delivered.deletions}"
            branch = [*_bold(delivered.branch), "not checked out"] if delivered.branch else ["none, only the patch"]
            page.facts("branch", *branch, size)
            page.copyable("patch", delivered.patch)
        elif delivered:
            page.facts("branch", "nothing was changed")
        if result.left_out:
            page.facts("left out", Text(_named(result.left_out, "\n"), "yellow"))
        for note in delivered.notes if delivered else ():
            page.facts("note", Text(note, "yellow"))
        page.facts("spent", *spent(result))
        if result.run:
            commands = ("diff", "apply", "report") if delivered and delivered.files else ("show", "report")
            if result.status not in ENDED:
                commands = ("resume", *commands)
            page.facts("next", *(Text(f"dockwright {command} {result.run}", "cyan") for command in commands))

    def _doing(self) -> str:
        """What the live line says while a turn goes on."""
        match list(self._running.values()):
            case []:
                return f"turn {self._result.turns + 1}"
            case [call]:
                return asked(call.name, call.input).plain
            case calls:
                return f"{len(calls)} calls"


def print_diff(console: Console, patch: str) -> None:
    """A whole patch, coloured and sanitised. A line that ends in a carriage return shows it."""
    heading = True
    for line in patch.removesuffix("\n").split("\n"):
        heading = line.startswith("diff --git ") or (heading and not line.startswith("@@"))
        console.print(Text(visible(line), "bold" if heading else diff_style(line)), soft_wrap=True, highlight=False)


def spent(result: RunResult) -> Iterable[str]:
    """Money, turns, time and tokens so far."""
    yield from (money(result.cost), count(result.turns, "turn"), duration(result.seconds))
    usage = result.usage
    if usage.read:
        cached = 100 * usage.cache_read_input_tokens // usage.read
        yield f"{amount(usage.read)} tokens in ({cached} % cached)"
        yield f"{amount(usage.output_tokens)} out"


def _texts(content: Iterable[events.JsonObject]) -> str:
    return "\n".join(text for block in content if isinstance(text := block.get("text"), str))


def _first_line(text: str) -> str:
    first, _, more = text.strip().partition("\n")
    return first + (" …" if more else "")


def _bold(text: str) -> Iterable[Text]:
    return [Text(text, "bold")] if text else []


def _named(names: tuple[str, ...], separator: str) -> str:
    more = len(names) - _NAMED
    return separator.join([*names[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
