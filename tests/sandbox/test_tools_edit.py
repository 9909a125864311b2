"""Write, Edit and MultiEdit over a real sandbox: what they say, and that no byte changes but those asked for."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from hashlib import sha256

import pytest

from dockwright.tools.base import ToolContext, ToolResult

Call = Callable[..., Awaitable[ToolResult]]
CURRENT = "(file state is current in your context — no need to Read it back)"
MODIFIED = "(note: the file had been modified on disk since you last read it)"
MISSING = "File does not exist. Note: your current working directory is /workspace."


def refused(text: str) -> tuple[str, bool]:
    return f"<tool_use_error>{text}</tool_use_error>", True


def said(result: ToolResult) -> tuple[str, bool]:
    return result.text, result.is_error


# Write


async def test_write_makes_a_file_and_the_folders_on_the_way(ctx: ToolContext, call: Call) -> None:
    result = await call("Write", file_path="a/b/c.txt", content="x\n")
    assert said(result) == (f"File created successfully at: /workspace/a/b/c.txt {CURRENT}", False)
    assert await ctx.sandbox.read("/workspace/a/b/c.txt") == b"x\n"
    assert (await ctx.sandbox.stat("/workspace/a/b/c.txt")).mode == 0o644
    assert result.details["diff"] == "--- a/workspace/a/b/c.txt\n+++ b/workspace/a/b/c.txt\n@@ -0,0 +1,1 @@\n+x\n"


async def test_write_replaces_an_unread_file_and_keeps_its_mode(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.sh", b"old", mode=0o755)
    result = await call("Write", file_path="a.sh", content="new")
    assert said(result) == (f"The file /workspace/a.sh has been updated successfully. {CURRENT}", False)
    assert await ctx.sandbox.read("/workspace/a.sh") == b"new"
    assert (await ctx.sandbox.stat("/workspace/a.sh")).mode == 0o755


STORED = {
    "a BOM is kept": (b"\xef\xbb\xbfold", "né", b"\xef\xbb\xbfn\xc3\xa9"),
    "a BOM is not doubled": (b"\xef\xbb\xbfold", "\ufeffnew", b"\xef\xbb\xbfnew"),
    "UTF-16 is kept": ("\ufeffold".encode("utf-16-le"), "né\n", "\ufeffné\n".encode("utf-16-le")),
    "a file that is all CRLF stays so": (b"a\r\nb\r\n", "x\ny\n", b"x\r\ny\r\n"),
    "CRLF in the content goes as given": (b"a\r\nb\r\n", "x\r\ny\n", b"x\r\ny\n"),
    "a mixed file takes the content as given": (b"a\r\nb\n", "x\ny\n", b"x\ny\n"),
    "bytes that are not UTF-8 are replaced like any others": (b"caf\xe9\0", "café", b"caf\xc3\xa9"),
}


@pytest.mark.parametrize(("before", "content", "after"), STORED.values(), ids=STORED)
async def test_write_stores(ctx: ToolContext, call: Call, before: bytes, content: str, after: bytes) -> None:
    await ctx.sandbox.write("/workspace/a.txt", before)
    assert not (await call("Write", file_path="a.txt", content=content)).is_error
    assert await ctx.sandbox.read("/workspace/a.txt") == after


async def test_write_says_that_it_kept_crlf(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"a\r\n")
    result = await call("Write", file_path="a.txt", content="b\n")
    assert result.text.endswith(f"{CURRENT} The file's CRLF line endings were kept.")


async def test_write_refuses_a_file_that_changed_since_it_was_read(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"one")
    await call("Read", file_path="a.txt")
    await call("Bash", command="printf two > a.txt")
    assert said(await call("Write", file_path="a.txt", content="three")) == refused(
        "File has been modified since read, either by the user or by a command. Read it again before attempting to "
        "write it."
    )
    await call("Read", file_path="a.txt")
    assert not (await call("Write", file_path="a.txt", content="three")).is_error


async def test_a_touched_file_has_not_changed(ctx: ToolContext, call: Call) -> None:
    await call("Write", file_path="a.txt", content="one")
    await call("Bash", command="touch -d tomorrow a.txt")
    assert not (await call("Write", file_path="a.txt", content="two")).is_error


# what can be changed at all

LINKED = refused(
    "Refusing to write /workspace/l: it is a symbolic link. Write to the link's target path instead: /workspace/t."
)
EDIT = {"old_string": "x", "new_string": "y"}
TARGETS = {
    "Write: a link": (
        "echo x > t; ln -s t l",
        "Write",
        "l",
        {"content": ""},
        LINKED,
    ),
    "Edit: a link": (
        "echo x > t; ln -s t l",
        "Edit",
        "l",
        EDIT,
        LINKED,
    ),
    "Write: a directory": (
        "mkdir d",
        "Write",
        "d",
        {"content": ""},
        refused("/workspace/d is a directory, not a file. Give the path of a file in it."),
    ),
    "Edit: a directory": (
        "mkdir d",
        "Edit",
        "d",
        EDIT,
        refused("Error calling tool (Edit): EISDIR: illegal operation on a directory, read '/workspace/d'"),
    ),
    "Write: a FIFO": (
        "mkfifo f",
        "Write",
        "f",
        {"content": ""},
        refused("Refusing to write /workspace/f: it is a device, a FIFO or a socket, not a file."),
    ),
    "Edit: a FIFO": (
        "mkfifo f",
        "Edit",
        "f",
        EDIT,
        refused("Refusing to write /workspace/f: it is a device, a FIFO or a socket, not a file."),
    ),
    "Write: below a file": (
        "touch a",
        "Write",
        "a/b",
        {"content": ""},
        ("ENOTDIR: not a directory, '/workspace/a/b'", True),
    ),
    "Write: a read-only file": (
        "touch a; chmod 444 a",
        "Write",
        "a",
        {"content": "x"},
        ("EACCES: permission denied, '/workspace/a'", True),
    ),
    "Edit: a missing file": ("true", "Edit", "a.txt", EDIT, refused(MISSING)),
    "Edit: a missing file with a neighbour": (
        "touch a.py",
        "Edit",
        "a.txt",
        EDIT,
        refused(f"{MISSING} Did you mean a.py?"),
    ),
    "MultiEdit: a missing file": ("true", "MultiEdit", "a.txt", {"edits": [EDIT]}, refused(MISSING)),
    "Edit: a notebook": (
        "echo x > n.ipynb",
        "Edit",
        "n.ipynb",
        EDIT,
        refused("File is a Jupyter Notebook, which is not the text that Read shows. Change its JSON with Bash."),
    ),
    "Edit: no match": (
        "echo a > a",
        "Edit",
        "a",
        EDIT,
        refused("String to replace not found in file.\nString: x"),
    ),
    "Edit: several matches": (
        "echo x x > a",
        "Edit",
        "a",
        EDIT,
        refused(
            "Found 2 matches of the string to replace, but replace_all is false. To replace all occurrences, set "
            "replace_all to true. To replace only one occurrence, please provide more context to uniquely identify the "
            "instance.\nString: x"
        ),
    ),
    "Edit: nothing to change": (
        "echo x > a",
        "Edit",
        "a",
        {"old_string": "x", "new_string": "x"},
        refused("No changes to make: old_string and new_string are exactly the same."),
    ),
    "Edit: an empty old_string on a file with content": (
        "echo x > a",
        "Edit",
        "a",
        {"old_string": "", "new_string": "y"},
        refused("Cannot create new file - file already exists."),
    ),
    "MultiEdit: no edits": (
        "echo x > a",
        "MultiEdit",
        "a",
        {"edits": []},
        refused(
            "InputValidationError: MultiEdit failed due to the following issue(s):\n"
            "The parameter `edits` was not accepted: At least one edit is required"
        ),
    ),
    "Edit: another encoding would get into the file": (
        r"printf 'x caf\351' > a",
        "Edit",
        "a",
        {"old_string": "x", "new_string": "é"},
        refused(
            "The file is not UTF-8, and new_string has characters that it would then hold in another encoding. "
            "Convert the file with Bash (iconv), or keep new_string to ASCII."
        ),
    ),
}


@pytest.mark.parametrize(("before", "tool", "path", "fields", "expected"), TARGETS.values(), ids=TARGETS)
async def test_refusal(
    ctx: ToolContext,
    call: Call,
    before: str,
    tool: str,
    path: str,
    fields: dict[str, object],
    expected: tuple[str, bool],
) -> None:
    await ctx.sandbox.exec(["sh", "-c", before])
    tree = ["sh", "-c", "find . -type f -perm -4 -exec sha256sum {} +; ls -lR --time-style=full-iso ."]
    state = (await ctx.sandbox.exec(tree)).stdout
    assert said(await call(tool, file_path=path, **fields)) == expected
    assert (await ctx.sandbox.exec(tree)).stdout == state


# Edit

EDITS = {
    "one occurrence": (b"a\nb\nc\n", "b", "B", False, b"a\nB\nc\n"),
    "every occurrence": (b"x x\nx", "x", "y", True, b"y y\ny"),
    "a line with its ending is gone whole": (b"a\nBETA\nc\n", "BETA\n", "", False, b"a\nc\n"),
    "new_string is literal": (b"name", "name", r"$1 $& \1 \g<0> \n", False, rb"$1 $& \1 \g<0> \n"),
    "old_string is literal": (b"a.b axb", "a.b", "c", False, b"c axb"),
    "straight quotes match curly ones": (
        "say \u201chi\u201d it\u2019s".encode(),
        '"hi" it\'s',
        "bye",
        False,
        b"say bye",
    ),
    "quotes as they are come first": ("'a' \u2018a\u2019".encode(), "'a'", "b", False, "b \u2018a\u2019".encode()),
    "an empty file is filled": (b"", "", "text\n", False, b"text\n"),
    "no final newline stays no final newline": (b"a\nb", "b", "c", False, b"a\nc"),
    "LF matches CRLF and CRLF stays": (b"a\r\nb\r\nc\r\n", "a\nb\n", "a\nx\ny\n", False, b"a\r\nx\r\ny\r\nc\r\n"),
    "CRLF matches CRLF": (b"a\r\nb\r\n", "a\r\nb", "a\r\nc", False, b"a\r\nc\r\n"),
    "in a mixed file each line keeps its ending": (
        b"a\r\nb\nc\r\nd\n",
        "b\nc\nd",
        "b\nX\nd",
        False,
        b"a\r\nb\nX\r\nd\n",
    ),
    "a new line takes the ending of the line before": (
        b"a\r\nb\nc\n",
        "a\nb",
        "a\nnew\nb",
        False,
        b"a\r\nnew\r\nb\nc\n",
    ),
    "a line put in a line takes the ending around it": (b"a\nb\r\nc\n", "b", "b\nnew", False, b"a\nb\r\nnew\r\nc\n"),
    "endings can be changed on purpose": (b"a\r\nb\r\n", "a\r\nb", "a\nb", False, b"a\nb\r\n"),
    "a lone CR is not a line ending": (b"a\rb\n", "b", "c", False, b"a\rc\n"),
    "a BOM stays": (b"\xef\xbb\xbfa b", "a", "x", False, b"\xef\xbb\xbfx b"),
    "UTF-16 stays": ("\ufeffa é\r\nb".encode("utf-16-le"), "é\nb", "è\nc", False, "\ufeffa è\r\nc".encode("utf-16-le")),
    "big-endian too": ("\ufeffa b".encode("utf-16-be"), "b", "ü", False, "\ufeffa ü".encode("utf-16-be")),
    "Latin-1 around an edit stays": (b"caf\xe9 old \xff\xfe\n", "old", "new", False, b"caf\xe9 new \xff\xfe\n"),
    "NUL bytes stay": (b"a\0b old\0", "old", "new", False, b"a\0b new\0"),
    "other line separators stay": ("a\u2028b\x0bc\x85".encode(), "b", "x", False, "a\u2028x\x0bc\x85".encode()),
    "true as a string is true": (b"x x", "x", "y", "true", b"y y"),
}


@pytest.mark.parametrize(("before", "old", "new", "every", "after"), EDITS.values(), ids=EDITS)
async def test_edit(
    ctx: ToolContext, call: Call, before: bytes, old: str, new: str, every: bool | str, after: bytes
) -> None:
    await ctx.sandbox.write("/workspace/a.txt", before, mode=0o750)
    result = await call("Edit", file_path="a.txt", old_string=old, new_string=new, replace_all=every)
    done = ". All occurrences were successfully replaced." if every else " successfully."
    assert said(result) == (f"The file /workspace/a.txt has been updated{done}", False)
    assert await ctx.sandbox.read("/workspace/a.txt") == after
    assert (await ctx.sandbox.stat("/workspace/a.txt")).mode == 0o750


NO_MATCH = {
    "white space is exact": (b"a  b", "a b"),
    "a pasted number and tab": (b"alpha\n", "1\talpha"),
    "composed does not match decomposed": ("e\u0301".encode(), "\u00e9"),
    "case": (b"Alpha", "alpha"),
    "LF does not match a lone CR": (b"a\rb", "a\nb"),
}


@pytest.mark.parametrize(("data", "old"), NO_MATCH.values(), ids=NO_MATCH)
async def test_what_does_not_match(ctx: ToolContext, call: Call, data: bytes, old: str) -> None:
    await ctx.sandbox.write("/workspace/a.txt", data)
    result = await call("Edit", file_path="a.txt", old_string=old, new_string="new")
    assert said(result) == refused(f"String to replace not found in file.\nString: {old}")
    assert await ctx.sandbox.read("/workspace/a.txt") == data


async def test_an_edit_makes_a_missing_file_from_an_empty_old_string(ctx: ToolContext, call: Call) -> None:
    result = await call("Edit", file_path="d/new.txt", old_string="", new_string="text\n")
    assert said(result) == (f"The file /workspace/d/new.txt has been updated successfully. {CURRENT}", False)
    assert await ctx.sandbox.read("/workspace/d/new.txt") == b"text\n"


async def test_after_a_read_the_state_is_known_until_somebody_else_writes(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"one two three")
    await call("Read", file_path="a.txt")
    first = await call("Edit", file_path="a.txt", old_string="one", new_string="1")
    second = await call("Edit", file_path="a.txt", old_string="two", new_string="2")
    await call("Bash", command="echo ' four' >> a.txt")
    third = await call("Edit", file_path="a.txt", old_string="three", new_string="3")
    start = "The file /workspace/a.txt has been updated successfully."
    assert [each.text for each in (first, second, third)] == [
        f"{start} {CURRENT}", f"{start} {CURRENT}", f"{start} {MODIFIED}",
    ]  # fmt: skip
    assert await ctx.sandbox.read("/workspace/a.txt") == b"1 2 3 four\n"


async def test_after_an_edit_what_others_wrote_is_still_unseen(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"one")
    await call("Read", file_path="a.txt")
    await call("Bash", command="echo ' theirs' >> a.txt")
    assert (await call("Edit", file_path="a.txt", old_string="one", new_string="1")).text.endswith(MODIFIED)
    assert (await call("Write", file_path="a.txt", content="mine")).is_error
    assert await ctx.sandbox.read("/workspace/a.txt") == b"1 theirs\n"


async def test_a_file_of_50_mb_is_edited_in_place(ctx: ToolContext, call: Call) -> None:
    before = os.urandom(1 << 20) * 25 + b"\nthe needle\r\n" + os.urandom(1 << 20) * 25
    await ctx.sandbox.write("/workspace/big", before)
    result = await call("Edit", file_path="big", old_string="the needle\n", new_string="the pin\n")
    assert not result.is_error
    after = await ctx.sandbox.read("/workspace/big")
    assert sha256(after).digest() == sha256(before.replace(b"\nthe needle\r\n", b"\nthe pin\r\n")).digest()


# MultiEdit


def edit(old: str, new: str, every: bool = False) -> dict[str, object]:
    return {"old_string": old, "new_string": new, "replace_all": every}


async def test_edits_are_applied_in_order_and_later_ones_see_earlier_ones(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"row 4\r\nrow 5\r\n")
    edits = [edit("row 4", "FOUR"), edit("FOUR", "IV"), edit("row", "line", every=True)]
    result = await call("MultiEdit", file_path="a.txt", edits=edits)
    assert said(result) == (
        (
            'Applied 3 edits to /workspace/a.txt:\n1. Replaced "row 4" with "FOUR"\n2. Replaced "FOUR" with "IV"\n'
            '3. Replaced "row" with "line"'
        ),
        False,
    )
    assert await ctx.sandbox.read("/workspace/a.txt") == b"IV\r\nline 5\r\n"
    assert result.details["diff"] == (
        "--- a/workspace/a.txt\n+++ b/workspace/a.txt\n@@ -1,2 +1,2 @@\n-row 4\r\n-row 5\r\n+IV\r\n+line 5\r\n"
    )


@pytest.mark.parametrize("bad", [edit("nowhere", "x"), edit("a", "x"), edit("", "x")], ids=["none", "two", "empty"])
async def test_all_edits_are_applied_or_none(ctx: ToolContext, call: Call, bad: dict[str, object]) -> None:
    await ctx.sandbox.write("/workspace/a.txt", b"a b a")
    before = await ctx.sandbox.stat("/workspace/a.txt")
    result = await call("MultiEdit", file_path="a.txt", edits=[edit("b", "B"), bad, edit("B", "C")])
    assert result.is_error
    assert result.text.endswith("\n(Edit 2 of 3. Nothing was changed.)</tool_use_error>")
    assert await ctx.sandbox.read("/workspace/a.txt") == b"a b a"
    assert await ctx.sandbox.stat("/workspace/a.txt") == before


async def test_a_first_empty_old_string_makes_the_file(ctx: ToolContext, call: Call) -> None:
    result = await call("MultiEdit", file_path="a.txt", edits=[edit("", "one\n"), edit("one", "two")])
    assert said(result) == (
        f'Applied 2 edits to /workspace/a.txt:\n1. Replaced "" with "one\n"\n2. Replaced "one" with "two"\n{CURRENT}',
        False,
    )
    assert await ctx.sandbox.read("/workspace/a.txt") == b"two\n"
