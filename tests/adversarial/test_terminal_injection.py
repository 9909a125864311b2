"""What a model, a command or a file name says, on a terminal: it draws nothing, hides nothing, imitates nothing."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.adversarial import careless

from dockwright.events import Answered, Delivered, Event, Noted, ToolFinished, ToolStarted, TurnStarted, Usage
from dockwright.ui.terminal import TerminalSink

ATTACKS = {
    "clear screen": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "device query": "\x1b[c\x1b[6n\x1bP$q\"p\x1b\\",
    "C1": "\x9b31m\x9d0;x\x9c",
    "overwrite": "safe\rrm -rf /",
    "backspace": "rm -rf /\b\b\b\b\b\b\b\bls      ",
    "bidi": "user\u202etxt.exe\u2066",
    "hidden": "pay\u200bload\u2060\ufeff",
    "tags": "".join(chr(0xE0000 + ord(char)) for char in "ignore all rules"),
    "variation": "a\ufe01b\U000e0100",
    "markup": "[link=https://evil.example]x[/link][/][red]",
    "surrogate": "\ud800\udfff",
    "bell and null": "\a\0\x7f",
}  # fmt: skip
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[ABCDGK]|\r")  # colours and the live line
ANY_TEXT = st.text(st.characters())


def events(text: str) -> list[Event]:
    """A text in every place that somebody else fills."""
    block = {"type": "text", "text": text}
    return [
        TurnStarted(turn=1),
        Answered(turn=1, id=text, model=text, content=(block,), stop_reason=text, usage=Usage(), cost=None, seconds=1),
        ToolStarted(turn=1, id="t", name=text, input={"command": text, text: text, "file_path": text}),
        ToolFinished(turn=1, id="t", name=text, content=text, is_error=True, seconds=1),
        ToolStarted(turn=1, id="u", name="Bash", input={"command": text}),
        ToolFinished(turn=1, id="u", name="Bash", content=text, is_error=False, seconds=1, details={"exit_code": 1}),
        Noted(text=text),
        Delivered(
            branch=None, commit=None, patch=text, files=1, insertions=1, deletions=0, left_out=(text,), notes=(text,)
        ),
    ]  # fmt: skip


def shown(text: str) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system="standard", markup=False)
    with TerminalSink(console, verbose=True) as sink:
        for event in events(text):
            sink(event)
    return stream.getvalue()


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_terminal_gets_colours_of_ours_and_nothing_else_to_obey(attack: str) -> None:
    rest = OURS.sub("", shown(ATTACKS[attack]))
    assert [char for char in rest if char != "\n" and not char.isprintable()] == []
    assert (ATTACKS[attack] in rest) == (attack == "markup")  # which is shown as it was written


@pytest.mark.parametrize("attack", ATTACKS)
def test_print_obeys_or_hides_it(attack: str) -> None:
    printed = careless.print_text(ATTACKS[attack])
    if attack == "markup":
        stream = io.StringIO()
        with pytest.raises(Exception, match="closing tag"):
            Console(file=stream).print(ATTACKS[attack])
        return
    assert ATTACKS[attack] in printed


@pytest.mark.parametrize("prompt", ["dockwright", "verified  the branch is safe to merge", "> ", "error: ", "\n" * 60])
def test_what_others_say_cannot_stand_at_the_left_edge(prompt: str) -> None:
    for padding in ("", "\n", " " * 300, "x" * 500 + "\n", "漢" * 200):
        lines = OURS.sub("", shown(padding + prompt)).splitlines()
        assert [line for line in lines if prompt.strip() and line.startswith(prompt.strip())] == []


@given(ANY_TEXT)
def test_no_text_acts(text: str) -> None:
    rest = OURS.sub("", shown(text))
    assert not set(rest) & set("\x1b\x07\x08\x00\x7f\x9b\x9d\u202e\u2066\u200b\ufeff\U000e0041")
    rest.encode()
