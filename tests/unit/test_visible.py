import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dockwright.ui.visible import clip, visible

ANY_TEXT = st.text(st.characters())  # lone surrogates included


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ümläut, 漢字, 😀\n\tindented", "plain text, ümläut, 漢字, 😀\n\tindented"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]8;;http://evil.example\x07link", r"\x1b]8;;http://evil.example\x07link"),
        ("\x9b2J raw C1", r"\x9b2J raw C1"),
        ("a\x00b\x08c\x7fd", r"a\x00b\x08c\x7fd"),
        ("\u202egnp.exe\u2066x\u2069", r"\u202egnp.exe\u2066x\u2069"),
        ("pass\u200bword\ufeff \u2060\xad", r"pass\u200bword\ufeff \u2060\xad"),
        ("ok\U000e0049\U000e0067", r"ok\U000e0049\U000e0067"),
        ("a\ufe0fb\U000e0100", r"a\ufe0fb\U000e0100"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("\ud800 lone \udfff", r"\ud800 lone \udfff"),
        ("Windows\r\nline ends\r\n", "Windows\nline ends\n"),
        ("10%\r100%\r\n", "10%\\r100%\n"),
        ("warning ⚠\ufe0f, key 1\ufe0f\u20e3", "warning ⚠, key 1\u20e3"),
        ("⚠\ufe0f\ufe0f", r"⚠\ufe0f"),
    ],
)
def test_what_a_terminal_would_obey_or_hide_is_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_one_line_stays_one_line() -> None:
    assert visible("make\ttest\nrm -rf /\r\n", newlines=False) == r"make\ttest\nrm -rf /\n"


def test_no_character_that_unicode_calls_control_or_format_is_missed() -> None:
    """Visible signs of Arabic, Syriac and Kaithi are formats by name only."""
    passed = [
        code
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and visible(chr(code)) == chr(code)
    ]
    signs = [*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD]
    assert passed == [ord("\t"), ord("\n"), *signs]


@given(ANY_TEXT)
def test_nothing_that_acts_survives(text: str) -> None:
    shown = visible(text)
    assert {unicodedata.category(char) for char in shown.replace("\n", "").replace("\t", "")}.isdisjoint({"Cc", "Cs"})
    assert set("\u200b\u200d\u202a\u202e\u2066\u2069\ufeff\ufe0f\U000e0041").isdisjoint(shown)
    assert visible(shown) == shown
    shown.encode()


@given(ANY_TEXT)
def test_one_line_has_no_line_end_of_any_kind(text: str) -> None:
    assert len(visible(text, newlines=False).splitlines()) <= 1


@given(ANY_TEXT, st.integers(0, 80))
def test_a_clipped_line_fits_and_says_that_it_was_cut(text: str, width: int) -> None:
    line = visible(text, newlines=False)
    clipped = clip(line, width)
    assert cell_len(clipped) <= width
    assert clipped == line or clipped[-1:] in {"…", ""}


@pytest.mark.parametrize(
    ("text", "width", "clipped"),
    [
        ("pytest -q", 9, "pytest -q"),
        ("pytest -q", 8, "pytest…"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 6, "漢字…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        ("x" * 1_000_000, 5, "xxxx…"),
    ],
)
def test_lines_are_cut_by_the_cells_that_they_take(text: str, width: int, clipped: str) -> None:
    assert clip(text, width) == clipped
