"""The one sanitiser of text for terminals: what a terminal would obey or hide is shown as an escape such as `\\x1b`.

Everything that comes from the model, the sandbox or the repository passes here before it is printed. What is our
own, colour above all, is added after.
"""

from __future__ import annotations

import re

from rich.cells import cell_len, set_cell_size

# Control characters but \n and \t, surrogates, line and paragraph separators, and whatever Unicode calls
# default-ignorable: bidi controls, zero-width characters, fillers, tags, variation selectors.
_HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# The selector that belongs to an emoji only picks its colour and width. It is left out, which keeps widths certain.
_EMOJI_SELECTOR = re.compile("(?<=[\u2190-\u2bff\U0001f000-\U0001faff])\ufe0f|\ufe0f(?=\u20e3)")
_HIDDEN_IN_TEXT = re.compile(f"[{_HIDDEN}]")
_HIDDEN_IN_A_LINE = re.compile(f"[{_HIDDEN}\n\t]")


def visible(text: str, *, newlines: bool = True) -> str:
    """Text that a terminal shows and does not obey. Windows line ends become plain ones.

    With `newlines=False` the result is one line: newlines and tabs are escaped, too.
    """
    hidden = _HIDDEN_IN_TEXT if newlines else _HIDDEN_IN_A_LINE
    return hidden.sub(_escape, _EMOJI_SELECTOR.sub("", text.replace("\r\n", "\n")))


def clip(text: str, width: int) -> str:
    """One line cut to `width` terminal cells, the last of them an ellipsis where something is missing."""
    if len(text) <= 4 * width and cell_len(text) <= width:
        return text
    return set_cell_size(text[: 4 * width], width - 1).rstrip() + "…" if width > 0 else ""


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
