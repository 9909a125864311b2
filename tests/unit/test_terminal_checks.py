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


def test_the_name_of_a_check_is_read_whole_on_as_many_lines_as_it_needs() -> None:
    name = "knex migrations up, down and up on a database of the base commit, which has a long name"
    rows = screen([CheckFinished(command=name, exit_code=1, output="", seconds=1)]).splitlines()
    assert " ".join(row.split("exit 1")[0].strip() for row in rows) == name
    assert "exit 1" in rows[-1]
