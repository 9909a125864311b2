"""Grep and Glob over a real sandbox."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest

from dockwright.tools.base import ToolContext, ToolResult

Call = Callable[..., Awaitable[ToolResult]]

TREE = r"""
mkdir -p src/deep .hidden node_modules/pkg .git
printf 'import os\n\n\ndef needle():\n    return "needle"\n\n# end\n' > src/app.py
printf 'needle one\nneedle two\n' > src/deep/two.txt
echo 'const needle = 1' > node_modules/pkg/index.js
echo 'a needle' > .hidden/h.txt
echo 'NEEDLE' > upper.md
echo 'needle in git' > .git/config
n=0
for file in upper.md src/app.py .hidden/h.txt node_modules/pkg/index.js src/deep/two.txt .git/config; do
    n=$((n + 1)); touch -d "2026-01-0$n" $file
done
"""


@pytest.fixture(autouse=True)
async def tree(ctx: ToolContext) -> None:
    result = await ctx.sandbox.exec(["sh", "-c", TREE])
    assert result.exit_code == 0


GREPS = {
    "files, newest first, hidden ones too": (
        {},
        "Found 4 files\nsrc/deep/two.txt\nnode_modules/pkg/index.js\n.hidden/h.txt\nsrc/app.py",
    ),
    "no files": ({"pattern": "nowhere"}, "No files found"),
    "one file": ({"pattern": "import"}, "Found 1 file\nsrc/app.py"),
    "ignoring case": ({"-i": True, "glob": "*.md"}, "Found 1 file\nupper.md"),
    "true as a string": ({"-i": "true", "glob": "*.md"}, "Found 1 file\nupper.md"),
    "content, sorted by path": (
        {"output_mode": "content"},
        (
            ".hidden/h.txt:1:a needle\nnode_modules/pkg/index.js:1:const needle = 1\nsrc/app.py:4:def needle():\n"
            'src/app.py:5:    return "needle"\nsrc/deep/two.txt:1:needle one\nsrc/deep/two.txt:2:needle two'
        ),
    ),
    "content of one file has no path": (
        {"output_mode": "content", "path": "src/app.py"},
        '4:def needle():\n5:    return "needle"',
    ),
    "no content": ({"output_mode": "content", "pattern": "nowhere"}, "No matches found"),
    "content without line numbers": (
        {"output_mode": "content", "-n": False, "glob": "*.txt", "path": "src"},
        "src/deep/two.txt:needle one\nsrc/deep/two.txt:needle two",
    ),
    "only what matches": (
        {"output_mode": "content", "-o": True, "path": "src/app.py", "pattern": "need.."},
        "4:needle\n5:needle",
    ),
    "counts": (
        {"output_mode": "count"},
        (
            ".hidden/h.txt:1\nnode_modules/pkg/index.js:1\nsrc/app.py:2\nsrc/deep/two.txt:2\n\n"
            "Found 6 total occurrences across 4 files."
        ),
    ),
    "one count": (
        {"output_mode": "count", "pattern": "import"},
        "src/app.py:1\n\nFound 1 total occurrence across 1 file.",
    ),
    "count of one file has its path": (
        {"output_mode": "count", "path": "src/app.py"},
        "src/app.py:2\n\nFound 2 total occurrences across 1 file.",
    ),
    "context of one file": (
        {"output_mode": "content", "path": "src/app.py", "pattern": "^def", "-C": 1},
        '3-\n4:def needle():\n5-    return "needle"',
    ),
    "context is the same as -C": (
        {"output_mode": "content", "path": "src/app.py", "pattern": "^def", "context": 1},
        '3-\n4:def needle():\n5-    return "needle"',
    ),
    "before and after, groups parted": (
        {"output_mode": "content", "path": "src/app.py", "pattern": "import|end", "-A": "1", "-B": 1},
        "1:import os\n2-\n--\n6-\n7:# end",
    ),
    "context of several files": (
        {"output_mode": "content", "glob": "*.{py,txt}", "pattern": "def|one", "-A": 1},
        (
            'src/app.py:4:def needle():\nsrc/app.py-5-    return "needle"\n--\nsrc/deep/two.txt:1:needle one\n'
            "src/deep/two.txt-2-needle two"
        ),
    ),
    "head_limit of files": ({"head_limit": 2}, "Found 2 files limit: 2\nsrc/deep/two.txt\nnode_modules/pkg/index.js"),
    "offset of files": (
        {"head_limit": 2, "offset": 1},
        "Found 2 files limit: 2, offset: 1\nnode_modules/pkg/index.js\n.hidden/h.txt",
    ),
    "head_limit of lines": (
        {"output_mode": "content", "head_limit": 2},
        (
            ".hidden/h.txt:1:a needle\nnode_modules/pkg/index.js:1:const needle = 1\n\n"
            "[Showing results with pagination = limit: 2]"
        ),
    ),
    "offset of lines": (
        {"output_mode": "content", "head_limit": 1, "offset": 2},
        "src/app.py:4:def needle():\n\n[Showing results with pagination = limit: 1, offset: 2]",
    ),
    "head_limit of counts": (
        {"output_mode": "count", "head_limit": 3},
        (
            ".hidden/h.txt:1\nnode_modules/pkg/index.js:1\nsrc/app.py:2\n\n"
            "Found 4 total occurrences across 3 files. with pagination = limit: 3"
        ),
    ),
    "a limit that is not reached is not told": ({"head_limit": 4, "glob": "*.py"}, "Found 1 file\nsrc/app.py"),
    "several globs by comma": ({"glob": "*.js,*.py"}, "Found 2 files\nnode_modules/pkg/index.js\nsrc/app.py"),
    "several globs by space": ({"glob": "*.js *.py"}, "Found 2 files\nnode_modules/pkg/index.js\nsrc/app.py"),
    "a glob with braces": ({"glob": "*.{js,py}"}, "Found 2 files\nnode_modules/pkg/index.js\nsrc/app.py"),
    "a kind of file": ({"type": "py"}, "Found 1 file\nsrc/app.py"),
    "multiline": ({"pattern": "import.*def", "multiline": True}, "Found 1 file\nsrc/app.py"),
    "a pattern that looks like an option": ({"pattern": "-needle"}, "No files found"),
    "the empty pattern matches everything": (
        {"pattern": "", "path": "src"},
        "Found 2 files\nsrc/deep/two.txt\nsrc/app.py",
    ),
    "the inside of .git only when asked for": ({"path": ".git"}, "Found 1 file\n.git/config"),
}


@pytest.mark.parametrize(("fields", "text"), GREPS.values(), ids=GREPS)
async def test_grep(call: Call, fields: dict[str, object], text: str) -> None:
    result = await call("Grep", **{"pattern": "needle", **fields})
    assert (result.text, result.is_error) == (text, False)


async def test_paths_are_relative_to_the_shells_directory(call: Call) -> None:
    await call("Bash", command="cd src")
    assert (await call("Grep", pattern="needle")).text == "Found 2 files\ndeep/two.txt\napp.py"
    assert (await call("Grep", pattern="a", path="/workspace/.hidden")).text == "Found 1 file\n/workspace/.hidden/h.txt"
    assert (await call("Glob", pattern="*.py")).text == "app.py"
    assert (await call("Glob", pattern="h.*", path="/workspace/.hidden")).text == "/workspace/.hidden/h.txt"


async def test_gitignore_counts_in_a_git_repository_only_and_never_for_glob(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.exec(["sh", "-c", "rm -r .git; printf 'node_modules\\n' > .gitignore"])
    assert "node_modules" in (await call("Grep", pattern="needle")).text
    await ctx.sandbox.exec([f"{ctx.sandbox.runtime}/bin/git", "init", "-q"])
    assert "node_modules" not in (await call("Grep", pattern="needle")).text
    assert "node_modules" in (await call("Glob", pattern="*.js")).text


async def test_a_line_over_500_columns_is_left_out_but_found(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/min.js", b"x" * 250_000 + b"haystack" + b"x" * 250_000)
    assert (
        await call("Grep", pattern="haystack", output_mode="content")
    ).text == "min.js:1:[Omitted long matching line]"


async def test_a_binary_file_that_is_named_says_that_it_matches(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/b.bin", b"\0 haystack")
    text = (await call("Grep", pattern="haystack", path="b.bin", output_mode="content")).text
    assert text.lower() == 'binary file matches (found "\\0" byte around offset 0)'


async def test_the_end_of_a_line_is_before_the_lf_alone(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/crlf.txt", b"first\r\n")
    assert (await call("Grep", pattern="first$", path="crlf.txt", output_mode="content")).text == "No matches found"


GREP_ERRORS = {
    "a bad expression": ({"pattern": "("}, "regex parse error"),
    "an unknown type": ({"type": "nope"}, "unrecognized file type: nope"),
    "a bad glob": ({"glob": "["}, "error parsing glob"),
    "a line end without multiline": ({"pattern": "a\\nb"}, "the literal"),
}


@pytest.mark.parametrize(("fields", "words"), GREP_ERRORS.values(), ids=GREP_ERRORS)
@pytest.mark.parametrize("mode", ["content", "files_with_matches", "count"])
async def test_what_rg_rejects_is_an_error_in_its_words(
    call: Call, fields: dict[str, object], words: str, mode: str
) -> None:
    result = await call("Grep", **{"pattern": "needle", "output_mode": mode, **fields})
    assert result.is_error
    start = "Search failed — ripgrep rejected the pattern, glob, or file type without searching:\n"
    assert result.text.startswith(start)
    assert words in result.text


async def test_a_path_that_is_missing(call: Call) -> None:
    result = await call("Grep", pattern="x", path="nowhere")
    text = "Path does not exist: nowhere. Note: your current working directory is /workspace."
    assert (result.text, result.is_error) == (text, True)


async def test_finding_nothing_after_a_cd_says_where(call: Call) -> None:
    await call("Bash", command="cd src")
    for tool, more, words in (
        ("Grep", {}, "No files found"),
        ("Grep", {"output_mode": "content"}, "No matches found"),
        ("Glob", {}, "No files found"),
    ):
        where = f"{words}. Note: your current working directory is /workspace/src."
        assert (await call(tool, pattern="nowhere", **more)).text == where
        assert (await call(tool, pattern="nowhere", path="/workspace", **more)).text == words


async def test_what_the_expressions_cannot_do_is_told_with_what_can(call: Call) -> None:
    result = await call("Grep", pattern="(?<=a)b")
    assert result.is_error
    assert result.text.endswith("look-behind, is not supported\n\n`grep -P` in Bash has both.")


async def test_an_unreadable_file_does_not_hide_the_others(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.exec(["sh", "-c", "echo needle > locked; chmod 0 locked"])
    assert (await call("Grep", pattern="needle", glob="*.py")).text == "Found 1 file\nsrc/app.py"
    result = await call("Grep", pattern="nothing at all")
    assert (result.text, result.is_error) == ("No files found", False)


async def test_more_than_20000_characters_are_in_a_file(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.exec(["sh", "-c", "seq -f 'number %.0f' 3000 > numbers"])
    result = await call("Grep", pattern="number", output_mode="content", head_limit=0, path="numbers")
    file = re.search(r"Full output saved to: (\S+)\n", result.text)
    assert file
    assert result.text.startswith("<persisted-output>\nOutput too large (")
    assert len(result.text) < 4500
    assert (await call("Read", file_path=file[1], offset=3000)).text == "3000\t3000:number 3000"


async def test_more_matches_than_may_cross_the_stream_are_still_paged_in_order(ctx: ToolContext, call: Call) -> None:
    script = "for f in c a b; do seq -f 'a line of text to be found, number %.0f, and some more of it' 50000 > $f; done"
    await ctx.sandbox.exec(["sh", "-c", script])
    result = await call("Grep", pattern="line", output_mode="content", offset=49_999, head_limit=2)
    assert result.text == (
        "a:50000:a line of text to be found, number 50000, and some more of it\n"
        "b:1:a line of text to be found, number 1, and some more of it\n\n"
        "[Showing results with pagination = limit: 2, offset: 49999]"
    )
    result = await call("Grep", pattern="line", output_mode="content", head_limit=0)
    assert result.is_error
    assert result.text.startswith("Too many lines match (")


async def test_a_file_name_that_is_odd_is_found(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.write("/workspace/-n odd:1:é.txt", b"haystack\n")
    assert (await call("Grep", pattern="haystack", output_mode="content")).text == "-n odd:1:é.txt:1:haystack"
    assert (await call("Grep", pattern="haystack", path="-n odd:1:é.txt", output_mode="content")).text == "1:haystack"
    assert (await call("Glob", pattern="-n*")).text == "-n odd:1:é.txt"


GLOBS = {
    "a pattern without a slash matches at any depth, oldest first": (
        {"pattern": "*.txt"},
        ".hidden/h.txt\nsrc/deep/two.txt",
    ),
    "a pattern with a slash is anchored": ({"pattern": "src/*"}, "src/app.py"),
    "stars over folders": ({"pattern": "src/**/*.txt"}, "src/deep/two.txt"),
    "braces": ({"pattern": "*.{js,md}"}, "upper.md\nnode_modules/pkg/index.js"),
    "below a path": ({"pattern": "**/*", "path": "src"}, "src/app.py\nsrc/deep/two.txt"),
    "an absolute pattern": ({"pattern": "/workspace/src/*.py"}, "src/app.py"),
    "an absolute pattern over folders": ({"pattern": "/workspace/**/*.py"}, "src/app.py"),
    "the empty pattern is everything": (
        {"pattern": "", "path": "src"},
        "src/app.py\nsrc/deep/two.txt",
    ),
    "folders are no files": ({"pattern": "src"}, "No files found"),
    "nothing": ({"pattern": "*.rb"}, "No files found"),
    "..": ({"pattern": "../*"}, "No files found"),
    "~": ({"pattern": "~/*"}, "No files found"),
    "a pattern that looks like a negation": ({"pattern": "!*.py"}, "No files found"),
    "the inside of .git only when asked for": ({"pattern": ".git/*"}, ".git/config"),
}


@pytest.mark.parametrize(("fields", "text"), GLOBS.values(), ids=GLOBS)
async def test_glob(call: Call, fields: dict[str, object], text: str) -> None:
    result = await call("Glob", **fields)
    assert (result.text, result.is_error) == (text, False)


GLOB_ERRORS = {
    "missing": (
        {"path": "nowhere"},
        "Directory does not exist: nowhere. Note: your current working directory is /workspace.",
    ),
    "a file": ({"path": "src/app.py"}, "Path is not a directory: src/app.py"),
}


@pytest.mark.parametrize(("fields", "text"), GLOB_ERRORS.values(), ids=GLOB_ERRORS)
async def test_glob_error(call: Call, fields: dict[str, object], text: str) -> None:
    result = await call("Glob", pattern="*", **fields)
    assert (result.text, result.is_error) == (text, True)


async def test_linked_folders_are_not_followed(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.exec(["sh", "-c", "ln -s src linked; ln -s ../.. src/up"])
    assert (await call("Glob", pattern="*.py")).text == "src/app.py"
    assert (await call("Grep", pattern="import")).text == "Found 1 file\nsrc/app.py"


async def test_at_most_100_files_are_listed(ctx: ToolContext, call: Call) -> None:
    await ctx.sandbox.exec(["sh", "-c", "mkdir many; cd many; seq 354 | xargs touch -d 2025-01-01"])
    lines = (await call("Glob", pattern="many/*")).text.split("\n")
    assert len(lines) == 101
    assert lines[100] == (
        "(Showing 100 of 354 matching files; 254 more are not listed. Narrow the pattern or path to see the rest.)"
    )
