"""The one place where text for the model is cut.

Sizes are in characters, except where a name says bytes. What is left out is always said, with where to find it.
"""

from __future__ import annotations

from collections.abc import Iterable

COMMAND_LIMIT = 30_000  # output of a command that succeeded
ERROR_LIMIT = 10_000  # output of a command that failed
SEARCH_LIMIT = 20_000  # what Grep found
PREVIEW = 2_000  # each of head and tail, where the rest is in a file
QUOTE = 500  # a string of the model's own, said back to it
READ_TOKENS, LARGE_READ_TOKENS = 25_000, 100_000
BYTES_PER_TOKEN = 4  # of UTF-8: near enough for code and prose


def decoded(data: bytes) -> str:
    """Output of a program as text: bytes that are no UTF-8 become U+FFFD."""
    return data.decode("utf-8", "replace")


def tidied(text: str) -> str:
    """Without blank lines in front and white space at the end; the first line keeps its indent."""
    text = text.rstrip()
    start = len(text) - len(text.lstrip())
    return text[text.rfind("\n", 0, start) + 1 :]


def quoted(text: str, limit: int = QUOTE) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... [{len(text) - limit} more characters]"


def size_text(size: int) -> str:
    return f"{size} bytes" if size < 1024 else f"{size / 1024:.1f}KB" if size < 1 << 20 else f"{size / (1 << 20):.1f}MB"


def head_and_tail(text: str, limit: int, *, hidden: int = 0, file: str | None = None) -> str:
    """`text`, or its first and last `limit / 2` characters. `hidden` counts what its middle had lost before."""
    if len(text) <= limit and not hidden:
        return text
    half = min(limit, len(text)) // 2
    left_out = f"{len(text) - 2 * half + hidden} characters truncated" + (f"; full output in {file}" if file else "")
    return f"{text[:half]}\n\n... [{left_out}] ...\n\n{text[len(text) - half :]}"


def persisted(text: str, size: int, file: str, stored: int) -> str:
    """What stands for an output that is too long and was saved, whole or its first `stored` bytes: where it is, how it
    begins and how it ends."""
    what = "Full output" if stored >= size else f"The first {size_text(stored)} of it were"
    return (
        f"<persisted-output>\nOutput too large ({size_text(size)}). {what} saved to: {file}\n\n"
        f"Preview (first {size_text(PREVIEW)}):\n{text[:PREVIEW]}\n...\n\n"
        f"Preview (last {size_text(PREVIEW)}):\n{text[-PREVIEW:]}\n</persisted-output>"
    )


def tokens(text: str) -> int:
    """An estimate: a quarter of the UTF-8 bytes."""
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN


def lines_that_fit(lines: Iterable[str], limit: int) -> list[str]:
    """The first whole lines that stay within `limit` tokens together. A first line that alone is longer is cut."""
    room = limit * BYTES_PER_TOKEN
    fitting: list[str] = []
    for line in lines:
        size = len(line.encode("utf-8", "replace")) + 1
        if size > room:
            if not fitting:
                kept = line[: room // 4]
                return [f"{kept}... [line cut: only its first {len(kept)} characters are shown]"]
            return fitting
        room -= size
        fitting.append(line)
    return fitting
