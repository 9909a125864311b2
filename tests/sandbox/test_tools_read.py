"""Read over a real sandbox: one rule each of what Claude Code 2.1.330 was measured to do, or of where we differ."""

from __future__ import annotations

import json
import struct
import time
import zlib
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256

import pytest

from dockwright.tools.base import ToolContext, ToolResult

Call = Callable[..., Awaitable[ToolResult]]
NOT_UTF8 = "\n\n[Note: bytes that are not UTF-8 are shown as U+FFFD. Edit can change the parts that are text.]"


def warning(words: str) -> str:
    return f"<system-reminder>Warning: the file exists but {words}</system-reminder>"


TEXTS = {
    "a line has its number and a tab, a final newline gives one more": (
        b"alpha\nbeta\ngamma\n",
        {},
        "1\talpha\n2\tbeta\n3\tgamma\n4\t",
    ),
    "no final newline, no extra line": (b"a\nb", {}, "1\ta\n2\tb"),
    "an empty file is not an error": (b"", {}, warning("the contents are empty.")),
    "offset and limit pick lines": (b"a\nb\nc\nd\n", {"offset": 2, "limit": 2}, "2\tb\n3\tc"),
    "offset past the end is not an error": (
        b"a\nb\n",
        {"offset": 9},
        warning("is shorter than the provided offset (9). The file has 3 lines."),
    ),
    "offset 0 is the first line": (b"a\nb", {"offset": 0}, "1\ta\n2\tb"),
    "limit -1 is ignored": (b"a\nb", {"limit": -1}, "1\ta\n2\tb"),
    "numbers as strings are numbers": (b"a\nb\nc", {"offset": "2", "limit": "1"}, "2\tb"),
    "NUL bytes in text are shown with a note": (b"a\0b", {}, "1\ta\0b\n\n[Note: the file has NUL bytes.]"),
    "bytes that are not UTF-8 are replaced, with a note": (b"caf\xe9\n", {}, f"1\tcaf\ufffd\n2\t{NOT_UTF8}"),
    "UTF-16 is decoded": ("\ufeffh\u00e9\r\nb".encode("utf-16-le"), {}, "1\th\u00e9\n2\tb"),
    "big-endian too": ("\ufeffhi".encode("utf-16-be"), {}, "1\thi"),
    "a BOM is hidden": (b"\xef\xbb\xbfhi", {}, "1\thi"),
    "CRLF is shown as LF": (b"a\r\nb\r\n", {}, "1\ta\n2\tb\n3\t"),
    "a lone CR stays inside its line": (b"a\rb\nc\r", {}, "1\ta\rb\n2\tc\r"),
    "a line of 5000 characters is whole": (b"x" * 5000, {}, "1\t" + "x" * 5000),
    "5000 lines are whole": (
        b"0123456789\n" * 4999,
        {},
        "".join(f"{n}\t0123456789\n" for n in range(1, 5000)) + "5000\t",
    ),
    "line separators other than LF do not part lines": ("a\u2028b\x0cc".encode(), {}, "1\ta\u2028b\x0cc"),
}


@pytest.mark.parametrize(("data", "fields", "text"), TEXTS.values(), ids=TEXTS)
async def test_text(ctx: ToolContext, call: Call, data: bytes, fields: dict[str, object], text: str) -> None:
    await ctx.sandbox.write("/workspace/a.txt", data)
    result = await call("Read", file_path="/workspace/a.txt", **fields)
    assert (result.text, result.is_error, result.blocks) == (text, False, ())


async def test_more_than_25000_tokens_are_shown_page_by_page(ctx: ToolContext, call: Call) -> None:
    lines = [f"line {number} {'x' * 80}" for number in range(1, 2001)]
    await ctx.sandbox.write("/workspace/long.txt", "\n".join(lines).encode())
    shown: list[str] = []
    while len(shown) < 2000:
        result = await call("Read", file_path="long.txt", offset=len(shown) + 1)
        page, _, notice = result.text.partition("\n\n")
        first, count = len(shown) + 1, page.count("\n") + 1
        shown += [line.partition("\t")[2] for line in page.split("\n")]
        if len(shown) < 2000:
            assert len(page) <= 100_000
            assert notice.startswith(
                f"[Truncated: PARTIAL view — /workspace/long.txt: showing lines {first}-{len(shown)} of 2000 total ("
            )
            assert notice.endswith(f"Call Read with offset={len(shown) + 1} limit={count} for the next page.]")
    assert shown == lines


async def test_over_256_kb_needs_offset_limit_or_allow_large(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/big.txt", b"0123456789abcde\n" * 17_000)
    refused = await call("Read", file_path="big.txt")
    assert refused.text.startswith("File content (265.6KB) exceeds maximum allowed size (256KB). Use offset and limit")
    assert refused.is_error
    assert (await call("Read", file_path="big.txt", limit=1)).text == "1\t0123456789abcde"
    assert (await call("Read", file_path="big.txt", offset=17_000)).text == "17000\t0123456789abcde\n17001\t"
    large = (await call("Read", file_path="big.txt", allow_large="true")).text
    assert large.startswith("1\t0123456789abcde\n2\t")
    assert large.endswith("17001\t")


async def test_a_page_deep_in_a_file_of_many_megabytes(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.exec(["sh", "-c", "seq -f 'line %.0f' 700000 > huge.txt"])
    result = await call("Read", file_path="huge.txt", offset=600_000, limit=2)
    assert result.text == "600000\tline 600000\n600001\tline 600001"
    assert (await call("Read", file_path="huge.txt", offset=700_000)).text == "700000\tline 700000\n700001\t"
    assert (await call("Read", file_path="huge.txt", offset=800_000)).text == warning(
        "is shorter than the provided offset (800000). The file has 700001 lines."
    )
    page = (await call("Read", file_path="huge.txt", offset=1, limit=100_000)).text
    assert page.startswith("1\tline 1\n2\tline 2\n")
    assert "PARTIAL view — /workspace/huge.txt: showing lines 1-" in page
    assert len(page) < 101_000


async def test_a_page_that_ends_before_an_endless_line_says_so(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/big", b"short\n" + b"x" * (3 << 20))
    assert (await call("Read", file_path="big", limit=5)).text == (
        "1\tshort\n\n[Truncated: PARTIAL view — /workspace/big: showing lines 1-1 of a file of 3.0MB "
        "(cap 25000 tokens). Call Read with offset=2 limit=1 for the next page.]"
    )
    assert (await call("Read", file_path="big", limit=1)).text == "1\tshort"
    text = (await call("Read", file_path="big", offset=2)).text
    assert text.startswith("2\txxx")
    assert "[line cut: only its first 25000 characters are shown]" in text


async def test_many_empty_lines_are_counted_quickly(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/big", b"\n" * (4 << 20) + b"end")
    began = time.monotonic()
    assert (await call("Read", file_path="big", offset=(4 << 20) + 1)).text == f"{(4 << 20) + 1}\tend"
    assert time.monotonic() - began < 30


async def test_a_line_longer_than_the_page_is_cut_and_says_so(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/min.js", b"x" * 250_000)
    text = (await call("Read", file_path="min.js")).text
    assert len(text) < 30_000
    assert text.endswith("... [line cut: only its first 25000 characters are shown]")


async def test_a_whole_read_is_remembered_by_the_bytes_of_the_file(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"\xef\xbb\xbfa\r\nb\r\n")
    await call("Read", file_path="a.txt", limit=1)
    assert ctx.seen == {"/workspace/a.txt": sha256(b"\xef\xbb\xbfa\r\nb\r\n").hexdigest()}


async def test_the_same_file_again_is_shown_again(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"a")
    assert [(await call("Read", file_path="a.txt")).text for _ in range(2)] == ["1\ta", "1\ta"]


async def test_a_path_may_be_relative_to_the_shell_or_begin_with_a_tilde(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/sub/a.txt", b"a")
    await ctx.sandbox.write("/home/agent/b.txt", b"b")
    await call("Bash", command="cd sub")
    assert (await call("Read", file_path="a.txt")).text == "1\ta"
    assert (await call("Read", file_path="../sub/./a.txt")).text == "1\ta"
    assert (await call("Read", file_path="~/b.txt")).text == "1\tb"


MISSING = "File does not exist. Note: your current working directory is /workspace."
FAILURES = {
    "missing": ("mkdir d", "no.txt", MISSING),
    "missing, with a neighbour of the same stem": ("touch a.txt", "a.py", f"{MISSING} Did you mean a.txt?"),
    "a broken link": ("ln -s nowhere l", "l", MISSING),
    "a file as a folder": ("touch a", "a/b.txt", MISSING),
    "a directory": ("mkdir d", "d", "EISDIR: illegal operation on a directory, read '/workspace/d'"),
    "an empty path": ("true", "", "EISDIR: illegal operation on a directory, read '/workspace'"),
    "a device": (
        "true",
        "/dev/zero",
        "Cannot read '/dev/zero': this path names a device or process file that this tool does not read.",
    ),
    "a FIFO does not hang": (
        "mkfifo f",
        "f",
        "Cannot read '/workspace/f': this path names a device or process file that this tool does not read.",
    ),
    "a file of the process file system": (
        "true",
        "/proc/self/status",
        "Cannot read '/proc/self/status': this path names a device or process file that this tool does not read.",
    ),
    "binary by extension": (
        "echo hi > x.dat",
        "x.dat",
        (
            "This tool cannot read binary files. The file appears to be a binary .dat file. "
            "Look into it with Bash (file, od, unzip -l, sqlite3 ...)."
        ),
    ),
    "binary by content": (
        r"printf '\177ELF\0\377\376' > prog",
        "prog",
        (
            "This tool cannot read binary files. The file has NUL bytes and is no valid UTF-8. "
            "Look into it with Bash (file, od ...)."
        ),
    ),
    "a picture that is none": (
        "echo hello > x.png",
        "x.png",
        "/workspace/x.png is not a PNG, JPEG, GIF or WebP image: it begins with the bytes 68 65 6c 6c 6f 0a.",
    ),
    "a PDF that is none": (
        "echo hello > x.pdf",
        "x.pdf",
        "File is not a valid PDF (missing %PDF- header): /workspace/x.pdf",
    ),
    "no permission": ("echo hi > x; chmod 0 x", "x", "EACCES: permission denied, '/workspace/x'"),
}


@pytest.mark.parametrize(("before", "path", "text"), FAILURES.values(), ids=FAILURES)
async def test_failure(ctx: ToolContext, call: Call, before: str, path: str, text: str) -> None:
    await ctx.sandbox.exec(["sh", "-c", before])
    result = await call("Read", file_path=path)
    assert (result.text, result.is_error) == (text, True)


async def test_a_link_is_followed(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.exec(["sh", "-c", "echo hi > a.txt; ln -s a.txt l"])
    assert (await call("Read", file_path="l")).text == "1\thi\n2\t"


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["x.png", "no-extension", "misnamed.jpg"])
async def test_an_image_is_a_block_of_its_own_kind_whatever_its_name(ctx: ToolContext, call: Call, name: str) -> None:
    await ctx.sandbox.write(f"/workspace/{name}", data := png(4, 3))
    result = await call("Read", file_path=name)
    source = {"type": "base64", "media_type": "image/png", "data": b64encode(data).decode()}
    assert result.blocks == ({"type": "image", "source": source},)
    assert result.text == f"[image/png 4x3, {len(data)} bytes]"


@pytest.mark.parametrize("data", [png(8001, 1), png(1, 1) + bytes(4 << 20)], ids=["pixels", "bytes"])
async def test_an_image_that_the_api_would_refuse_is_refused_here(ctx: ToolContext, call: Call, data: bytes) -> None:
    await ctx.sandbox.write("/workspace/x.png", data)
    result = await call("Read", file_path="x.png")
    assert result.is_error
    assert result.text.startswith("The image is too large to be shown: ")
    assert result.text.endswith("at most 8000x8000 and 3.8MB. Make a smaller copy with Bash.")


async def test_svg_is_text(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/x.svg", b"<svg/>")
    assert (await call("Read", file_path="x.svg")).text == "1\t<svg/>"


async def test_a_pdf_is_a_document(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/x.pdf", data := b"%PDF-1.4\n%%EOF\n")
    result = await call("Read", file_path="x.pdf")
    source = {"type": "base64", "media_type": "application/pdf", "data": b64encode(data).decode()}
    text = "PDF file read: /workspace/x.pdf (15 bytes)"
    assert result.blocks == ({"type": "text", "text": text}, {"type": "document", "source": source})
    assert result.text == text


async def test_a_notebook_is_its_cells_and_what_they_printed(ctx: ToolContext, call: Call) -> None:
    cells = [
        {"cell_type": "markdown", "id": "m", "source": ["# Title\n", "text"]},
        {
            "cell_type": "code",
            "id": "c1",
            "source": "print(42)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["42\n"]},
                {"output_type": "display_data", "data": {"text/plain": ["<Figure>"], "image/png": "AAAA"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []},
            ],
        },
        {"cell_type": "code", "source": []},
    ]
    await ctx.sandbox.write("/workspace/n.ipynb", json.dumps({"cells": cells}).encode())
    assert (await call("Read", file_path="n.ipynb")).text == (
        '<cell id="m"><cell_type>markdown</cell_type># Title\ntext</cell id="m">\n'
        '<cell id="c1">print(42)</cell id="c1">\n42\n<Figure>\n[image/png left out]\nValueError: no\n'
        '<cell id="cell-2"></cell id="cell-2">'
    )


@pytest.mark.parametrize("data", [b"{", b'{"cells": 1}', b"[" * 100_000], ids=["cut", "no cells", "deep"])
async def test_a_notebook_that_is_none_is_text(ctx: ToolContext, call: Call, data: bytes) -> None:
    await ctx.sandbox.write("/workspace/n.ipynb", data)
    assert (await call("Read", file_path="n.ipynb")).text.startswith(f"1\t{data[:10].decode()}")
