"""How the runner gets into an interpreter that takes what ours compiles, and into one that does not."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import MAGIC_NUMBER

import pytest

from dockwright.sandbox.runner import BOOT, code, source, wire
from dockwright.sandbox.runner.program import ready


@pytest.mark.parametrize("magic", [MAGIC_NUMBER, b"\0\0\r\n"], ids=["same", "another"])
def test_it_says_hello(magic: bytes) -> None:
    sent = source().replace(MAGIC_NUMBER, magic, 1)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", BOOT], input=sent, capture_output=True, check=True)
    assert list(wire.Frames().feed(done.stdout)) == [(wire.DONE, 0, b'{"runner": 1}')]
    assert done.stderr == b""


def test_it_gives_up_where_the_stream_ends_too_soon() -> None:
    done = subprocess.run([sys.executable, "-I", "-S", "-c", BOOT], input=source()[:-1], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


@pytest.mark.parametrize("magic", [MAGIC_NUMBER.hex(), "00000d0a"], ids=["same", "another"])
def test_a_program_is_the_same_in_both_forms(magic: str) -> None:
    names: dict[str, object] = {}
    form, text = code("answer = 6 * 7", magic)
    assert form == ("marshal" if magic == MAGIC_NUMBER.hex() else "source")
    exec(ready((form, text)), names)  # noqa: S102 - what it is for
    assert names["answer"] == 42
