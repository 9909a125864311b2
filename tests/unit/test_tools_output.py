"""Where text is cut: what is left out is said."""

from __future__ import annotations

import pytest

from dockwright.tools import output


@pytest.mark.parametrize(
    ("text", "tidy"),
    [("", ""), (" \n\t\n", ""), ("a", "a"), ("\n\n  a\n b \n\n", "  a\n b"), ("  a", "  a"), (" \n \n a", " a")],
)
def test_blank_lines_in_front_and_space_at_the_end_go(text: str, tidy: str) -> None:
    assert output.tidied(text) == tidy


def test_head_and_tail() -> None:
    assert output.head_and_tail("abcdef", 6) == "abcdef"
    assert output.head_and_tail("abcdefgh", 6) == "abc\n\n... [2 characters truncated] ...\n\nfgh"
    assert output.head_and_tail("abcdefgh", 6, hidden=10, file="/f") == (
        "abc\n\n... [12 characters truncated; full output in /f] ...\n\nfgh"
    )
    assert output.head_and_tail("abcd", 6, hidden=10) == "ab\n\n... [10 characters truncated] ...\n\ncd"


def test_quoted() -> None:
    assert output.quoted("abc", 3) == "abc"
    assert output.quoted("abcd", 3) == "abc... [1 more characters]"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (31_027, "30.3KB"), (6 << 20, "6.0MB")]
)
def test_size(size: int, text: str) -> None:
    assert output.size_text(size) == text


def test_lines_that_fit_are_whole_lines() -> None:
    assert output.lines_that_fit(["abc", "def", "ghi"], 2) == ["abc", "def"]
    assert output.lines_that_fit(["éé", "éé"], 2) == ["éé"]
    assert output.lines_that_fit([], 2) == []
    assert output.lines_that_fit(["x" * 100, "y"], 4) == ["xxxx... [line cut: only its first 4 characters are shown]"]
