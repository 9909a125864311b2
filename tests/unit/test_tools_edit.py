"""The heart of Edit, on bytes: what holds for every file, whatever is in it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwright.tools.base import Refused
from dockwright.tools.diff import unified
from dockwright.tools.edit import Replacement, replaced
from dockwright.tools.text_file import BOMS, TextFile

words = st.text(alphabet="abé \t“\"'", max_size=6)
endings = st.sampled_from([b"\n", b"\r\n"])


def edit(old: str, new: str) -> Replacement:
    return Replacement(old_string=old, new_string=new, replace_all=False)


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40), words, words)
def test_bytes_outside_the_span_are_never_touched(before: bytes, after: bytes, old: str, new: str) -> None:
    body = before + b"<" + old.encode() + b">" + after
    if body.count(b"<" + old.encode() + b">") == 1:
        ascii_new = new.encode("ascii", "ignore").decode()
        if old != ascii_new:
            expected = before + b"<" + ascii_new.encode() + b">" + after
            assert replaced(body, edit(f"<{old}>", f"<{ascii_new}>")) == expected


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=5), st.lists(words, max_size=5), endings)
def test_a_file_of_one_line_ending_keeps_it(old: list[str], new: list[str], ending: bytes) -> None:
    was, now = "<" + "\n".join(old) + ">", "<" + "\n".join(new) + ">"
    if was != now:
        body = b"start\n" + was.encode() + b"\nend"
        found = replaced(body.replace(b"\n", ending), edit(was, now))
        assert found == body.replace(was.encode(), now.encode()).replace(b"\n", ending)


@settings(deadline=None)
@given(st.lists(st.tuples(words, endings), min_size=3, max_size=8), st.data())
def test_in_a_mixed_file_only_the_changed_line_changes(lines: list[tuple[str, bytes]], data: st.DataObject) -> None:
    numbered = [(f"{number}:{text}", end) for number, (text, end) in enumerate(lines)]
    at = data.draw(st.integers(1, len(lines) - 2))
    old = "\n".join(text for text, _ in numbered[at - 1 : at + 2])
    new = old.replace(numbered[at][0], "changed")
    expected = [(text if number != at else "changed", end) for number, (text, end) in enumerate(numbered)]
    joined = [b"".join(text.encode() + end for text, end in each) for each in (numbered, expected)]
    assert replaced(joined[0], edit(old, new)) == joined[1]


@settings(deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", *(bom for bom, _ in BOMS)]))
def test_a_file_that_is_not_changed_is_written_as_it_was(data: bytes, bom: bytes) -> None:
    assert TextFile.parse(bom + data).data() == bom + data


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "é", ""]), max_size=12),
    st.lists(st.sampled_from(["a", "b", "x"]), max_size=12),
)
def test_a_diff_says_what_was_removed_and_added(old: list[str], new: list[str]) -> None:
    before, after = ["\n".join(lines).encode() for lines in (old, new)]
    text = unified("/f", before, after)
    removed = sum(line.startswith("-") for line in text.split("\n")[2:])
    added = sum(line.startswith("+") for line in text.split("\n")[2:])
    counted = [len(data.splitlines()) for data in (before, after)]
    assert counted[0] - removed == counted[1] - added
    assert (text == "") == (before == after)


def test_a_hostile_edit_takes_no_time() -> None:
    began = time.monotonic()
    with pytest.raises(Refused):
        replaced(b"\r\n" * 1_000_000, edit("\n" * 50_000 + "x", "y"))
    with pytest.raises(Refused):
        replaced(b"a" * 5_000_000, edit("a" * 50_000 + "b", "y"))
    assert time.monotonic() - began < 10


def test_a_diff_has_three_lines_around_and_the_right_numbers() -> None:
    old = b"".join(b"%d\n" % number for number in range(1, 2000))
    new = old.replace(b"\n500\n", b"\nfive hundred\nand more\n").replace(b"\n1000\n", b"\n")
    assert unified("/a/b", old, new) == (
        "--- a/a/b\n+++ b/a/b\n"
        "@@ -497,7 +497,8 @@\n 497\n 498\n 499\n-500\n+five hundred\n+and more\n 501\n 502\n 503\n"
        "@@ -997,7 +998,6 @@\n 997\n 998\n 999\n-1000\n 1001\n 1002\n 1003\n"
    )


def test_a_diff_of_a_huge_change_is_bounded_and_says_so() -> None:
    text = unified("/f", b"a\n" * 1_000_000, b"b\n" * 1_000_000)
    assert len(text) < 21_000
    assert text.startswith("--- a/f\n+++ b/f\n@@ -1,")
    assert text.endswith("... [the rest of a large change is not shown] ...\n")


def test_a_diff_tells_a_missing_final_newline() -> None:
    assert unified("/f", b"a\nb", b"a\nc\n") == (
        "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n"
    )
