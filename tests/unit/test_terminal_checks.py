"""The checks of the proof on the terminal: a line each."""

from __future__ import annotations

from tests.unit.test_terminal import screen

from dockwright.events import CheckFinished


def test_behind_a_check_stands_what_was_answered_and_nothing_of_a_log() -> None:
    asked = CheckFinished(
        kind="probe", command="serve; GET /", exit_code=0, output="GET / answered 200: ok\nINFO: a log\n", seconds=1
    )
    moved = CheckFinished(kind="migrations", command="up and down", exit_code=0, output="4 rows made\n", seconds=1)
    rows = screen([asked, moved]).splitlines()
    assert [row.split("exit 0")[0].strip() for row in rows] == ["serve; GET /  GET / answered 200: ok", "up and down"]
