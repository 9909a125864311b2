"""The history that is sent is folded as it grows, and is the same as one that is folded at once."""

from dockwright.events import (
    Answered,
    Compacted,
    Event,
    Prompted,
    Restored,
    ToolFinished,
    ToolStarted,
    TurnStarted,
    Usage,
)
from dockwright.history import History
from dockwright.testing.scripted_api import text, tool_use


def turns(first: int, last: int) -> list[Event]:
    events: list[Event] = []
    for turn in range(first, last + 1):
        call = tool_use("Look", {"path": f"{turn}"}, id=f"toolu_{turn}")
        events += [
            Prompted(content=(text(f"Word {turn}."),), source="harness"),
            TurnStarted(turn=turn),
            Answered(turn=turn, id="m", model="m", content=(text("I look."), call), stop_reason="tool_use",
                     usage=Usage(), cost=0.0, seconds=0.0),
            ToolStarted(turn=turn, id=f"toolu_{turn}", name="Look", input={"path": f"{turn}"}),
            ToolFinished(turn=turn, id=f"toolu_{turn}", name="Look", content=f"saw {turn}", is_error=False,
                         seconds=0.0),
        ]  # fmt: skip
    return events


EVENTS: list[Event] = [
    *turns(1, 5),
    Restored(turn=3, commit="c"),
    *turns(4, 7),
    Compacted(turn=7, kept_from=6, content=(text("A summary."),), tokens=1, usage=Usage(), cost=0.0, seconds=0.0),
    *turns(8, 10),
    Restored(turn=8, commit="c"),
    *turns(9, 9),
    Restored(turn=5, commit="c"),
    *turns(6, 7),
]


def test_a_history_that_is_asked_after_each_event_is_that_of_the_journal() -> None:
    grown = History()
    for number, event in enumerate(EVENTS, start=1):
        grown.add(event)
        assert grown.messages() == History(EVENTS[:number]).messages()


def test_turns_that_are_over_are_not_folded_again() -> None:
    grown = History()
    for event in turns(1, 9):
        grown.add(event)
        grown.messages()
    one, other = grown.messages(), grown.messages()
    assert all(mine["content"] is its["content"] for mine, its in zip(one[:-3], other[:-3], strict=True))
