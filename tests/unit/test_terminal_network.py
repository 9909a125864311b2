"""What the terminal says of the border: that it was tested, and what was asked of the network."""

from __future__ import annotations

import io

from rich.console import Console

from dockwright.events import BoundaryTested, Event, NetworkAsked
from dockwright.ui.terminal import TerminalSink


def screen(events: list[Event], verbose: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, highlight=False, markup=False)
    with TerminalSink(console, verbose=verbose) as sink:
        for event in events:
            sink(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_host_is_named_once_however_often_it_is_asked_for() -> None:
    denied = NetworkAsked(host="telemetry.example.org", port=443, denied="not in the allow list")
    allowed = NetworkAsked(host="pypi.example.org", port=443)
    named = "network   telemetry.example.org:443 denied: not in the allow list\n"
    assert screen([denied, allowed, denied]) == named
    assert screen([denied, allowed, denied, allowed], verbose=True) == f"{named}network   pypi.example.org:443\n"


def test_the_boundary_is_one_line_and_a_leak_is_named() -> None:
    outcomes = {"dns": "no server answers", "direct": "there is a way to 1.1.1.1:443"}
    closed = BoundaryTested(purpose="work", outcomes=outcomes, leaks=(), seconds=0.05)
    assert screen([closed]).startswith("boundary  closed: 2 ways out tried, none open")
    assert screen([closed.model_copy(update={"purpose": "proof"})]) == ""
    leaking = closed.model_copy(update={"leaks": ("direct",), "purpose": "proof"})
    assert "not closed: direct: there is a way to 1.1.1.1:443" in screen([leaking])
