import os
import pty
import subprocess
import sys

import pytest

PLAY_AND_SAY = """
import os, sys
from rich.console import Console
from dockwright.events import Noted
from dockwright.ui.terminal import TerminalSink

with TerminalSink(Console(force_terminal=sys.argv[1] == "pty")) as sink:
    sink(Noted(text="first"))
    sys.stdin.readline()
    for number in range(100):
        sink(Noted(text=f"line {number}"))
    os.write(2, b"the run went on")
os._exit(0)
"""


@pytest.mark.parametrize("kind", ["pipe", "pty"])
def test_a_terminal_or_pipe_that_goes_away_does_not_end_the_run(kind: str) -> None:
    ours, theirs = pty.openpty() if kind == "pty" else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", PLAY_AND_SAY, kind], stdin=subprocess.PIPE, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    assert b"first" in os.read(ours, 1000)
    os.close(ours)
    _, said = process.communicate(b"\n", timeout=20)
    assert (said, process.returncode) == (b"the run went on", 0)
