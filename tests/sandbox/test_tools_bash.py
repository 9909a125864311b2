"""Bash, BashOutput and KillShell over a real sandbox."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable

import pytest

from dockwright.tools.base import ToolContext, ToolResult

Call = Callable[..., Awaitable[ToolResult]]
NOTHING = "(Bash completed with no output)"

RUNS = {
    "stdout and stderr come in the order written": ("echo a; echo b >&2; echo c", "a\nb\nc", False),
    "blank lines in front and space at the end are removed": (r"printf '\n \n  indented \n\n'", "  indented", False),
    "no output": ("true", NOTHING, False),
    "only white space is no output": ("echo; echo", NOTHING, False),
    "a failure is told with its code": ("echo out; echo err >&2; exit 3", "Exit code 3\nout\nerr", True),
    "a silent failure too": ("exit 7", "Exit code 7", True),
    "a command that does not exist": ("no-such-program 2>/dev/null", "Exit code 127", True),
    "killed by SIGTERM": ("kill -TERM $$", "Exit code 143", True),
    "killed by SIGKILL": ("kill -KILL $$", "Exit code 137", True),
    "grep without a match is an answer": ("echo a | grep b", NOTHING, False),
    "after a change of directory too": ("mkdir d && cd d && true; cd . && grep -q nothing /dev/null", NOTHING, False),
    "and last of a list": ("true; test -e nowhere", NOTHING, False),
    "diff with a difference": ("echo a > a; echo b > b; diff a b", "1c1\n< a\n---\n> b", False),
    "[": ("[ 1 = 2 ]", NOTHING, False),
    "grep with an error is a failure": ("grep a nowhere 2>/dev/null", "Exit code 2", True),
    "what ran before a grep can have failed": ("false && grep a b", "Exit code 1", True),
    "under set -e any command can have failed": ("set -e; false; grep a b", "Exit code 1", True),
    "a list need not come to its end": ("if true; then exit 1; fi; grep a b", "Exit code 1", True),
    "exit code 1 of anything else is a failure": ("python3 -c 'exit(1)' 2>/dev/null || exit 1", "Exit code 1", True),
    "it is no terminal": ("[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none", "none", False),
    "stdin is empty": ("cat; echo end", "end", False),
    "aliases are off": ("alias greet='echo hi'\ngreet 2>/dev/null", "Exit code 127", True),
    "escapes, CR and NUL pass through": (r"printf '\033[1mb\033[0m\rx\0y'", "\x1b[1mb\x1b[0m\rx\0y", False),
    "bytes that are not UTF-8 are replaced": (r"printf 'a\377b'", "a\ufffdb", False),
    "an exit code survives set -e": ("set -e; false; echo never", "Exit code 1", True),
    "positional parameters are the command's own": ("echo $#", "0", False),
    "a word of the command may be anything": ("""echo "it's" '$HOME' `echo x`""", "it's $HOME x", False),
    "a here document": ("cat <<'END'\n  $x\nEND", "  $x", False),
    "a comment first": ("# nothing\necho a", "a", False),
    "true as a string": ("echo a", "a", False),
}


@pytest.mark.parametrize(("command", "text", "is_error"), RUNS.values(), ids=RUNS)
async def test_run(call: Call, command: str, text: str, is_error: bool) -> None:
    result = await call("Bash", command=command)
    assert (result.text, result.is_error) == (text, is_error)


async def test_a_syntax_error_is_told_in_the_shells_own_words(call: Call) -> None:
    result = await call("Bash", command="echo a\nif then")
    assert result.is_error
    assert re.fullmatch(
        r"Exit code 2\na\n\S*bash:( eval:)?( line 2:)? syntax error near unexpected token `then'\n\S*bash:.* `if then'",
        result.text,
    )


async def test_the_exit_code_is_kept_as_data_even_where_it_is_no_error(call: Call) -> None:
    result = await call("Bash", command="echo a | grep b")
    assert result.details == {"exit_code": 1, "ended": "exit", "output_file": None, "job": None}


# state


async def test_the_directory_carries_over_and_nothing_else_does(call: Call) -> None:
    await call("Bash", command="mkdir -p 'sub dir'; cd 'sub dir'; export FOO=bar; bar() { echo; }; set -e; umask 077")
    text = (await call("Bash", command="pwd; echo [$FOO]; type bar >/dev/null 2>&1 || echo gone; false; umask")).text
    assert text == "/workspace/sub dir\n[]\ngone\n0022"


async def test_a_directory_change_counts_even_if_the_command_fails(ctx: ToolContext, call: Call) -> None:
    await call("Bash", command="mkdir sub && cd sub && exit 4")
    assert ctx.cwd == "/workspace/sub"


async def test_outside_the_workspace_the_directory_is_put_back(ctx: ToolContext, call: Call) -> None:
    result = await call("Bash", command="cd /tmp; echo a")
    assert (result.text, ctx.cwd) == ("a\nShell cwd was reset to /workspace", "/workspace")


async def test_a_link_out_of_the_workspace_is_outside(ctx: ToolContext, call: Call) -> None:
    result = await call("Bash", command="ln -s /tmp out; cd out; echo a")
    assert (result.text, ctx.cwd) == ("a\nShell cwd was reset to /workspace", "/workspace")


async def test_a_directory_that_was_removed_is_left(ctx: ToolContext, call: Call) -> None:
    await call("Bash", command="mkdir sub; cd sub")
    await call("Bash", command="rm -r ../sub")
    result = await call("Bash", command="pwd")
    assert (result.text, ctx.cwd) == ("/workspace\nShell cwd was reset to /workspace", "/workspace")


# size


async def test_output_of_30000_characters_is_whole(call: Call) -> None:
    assert (await call("Bash", command="head -c 30000 /dev/zero | tr '\\0' x")).text == "x" * 30_000


@pytest.mark.parametrize("count", [5003, 1_000_000])
async def test_a_longer_output_is_in_a_file_and_its_ends_are_shown(ctx: ToolContext, call: Call, count: int) -> None:
    result = await call("Bash", command=f"seq -f '%.0f hello' {count}")
    file = re.search(r"Full output saved to: (\S+)\n", result.text)
    assert file
    assert result.text.startswith("<persisted-output>\nOutput too large (")
    assert "\n\nPreview (first 2.0KB):\n1 hello\n2 hello\n" in result.text
    assert result.text.endswith(f"\n{count} hello\n</persisted-output>")
    assert len(result.text) < 4500
    assert not result.is_error
    last = await call("Bash", command=f"wc -l < {file[1]}; tail -n1 {file[1]}")
    assert last.text == f"{count}\n{count} hello"
    assert (await call("Read", file_path=file[1], offset=5000, limit=1)).text == "5000\t5000 hello"
    assert (await call("Grep", path=file[1], pattern="^4999 ", output_mode="content")).text == "4999:4999 hello"


async def test_a_long_failure_is_cut_in_the_middle_at_10000(call: Call) -> None:
    result = await call("Bash", command="echo start; seq 20000; echo end; exit 2")
    assert result.text.startswith("Exit code 2\nstart\n1\n2\n")
    assert result.text.endswith("20000\nend")
    cut = re.search(r"\n\n\.\.\. \[(\d+) characters truncated; full output in (\S+)\] \.\.\.\n\n", result.text)
    assert cut
    assert len(result.text) - len(cut[0]) - len("Exit code 2\n") == 10_000
    assert (await call("Bash", command=f"tail -n 2 {cut[2]}")).text == "20000\nend"


# time


async def test_a_timeout_kills_the_tree_and_keeps_what_was_printed(call: Call) -> None:
    began = time.monotonic()
    command = "echo before; sleep 987 & setsid sleep 987 & sleep 987"
    result = await call("Bash", command=command, timeout=500)
    assert (result.text, result.is_error) == ("Command timed out after 0.5s\nbefore", True)
    assert time.monotonic() - began < 60
    assert (await call("Bash", command="grep -lz [9]87 /proc/[0-9]*/cmdline | wc -l")).text == "0"


@pytest.mark.parametrize(("given", "text"), [(0, "ok"), (-1, "ok"), (10**9, "ok"), ("2000", "ok")])
async def test_any_number_is_taken_as_a_timeout(call: Call, given: object, text: str) -> None:
    assert (await call("Bash", command="echo ok", timeout=given)).text == text


# background


async def test_a_child_left_behind_does_not_hold_the_call_and_becomes_a_job(call: Call) -> None:
    began = time.monotonic()
    result = await call("Bash", command="sleep 600 & echo hi")
    assert time.monotonic() - began < 60
    job = result.details["job"]
    assert result.text == (
        f"hi\nProcesses that the command started are still running, as background job {job}: BashOutput shows what "
        "they print, KillShell stops them."
    )
    killed = await call("KillShell", shell_id=job)
    message = f"Successfully killed shell: {job} (sleep 600 & echo hi)"
    assert json.loads(killed.text) == {"message": message, "shell_id": job}


async def test_a_background_command_is_polled_for_what_is_new(call: Call) -> None:
    started = await call("Bash", command="echo one; sleep 0.6; echo two; exit 7", run_in_background="true")
    job = started.details["job"]
    assert started.text == (
        f"Command running in background with ID: {job}. Output is being written to: {started.details['output_file']}. "
        "BashOutput shows what is new of it, KillShell stops it."
    )
    await asyncio.sleep(0.2)
    assert (await call("BashOutput", bash_id=job)).text == "<status>running</status>\n\n<stdout>\none\n</stdout>"
    assert (await call("BashOutput", bash_id=job)).text == "<status>running</status>"
    await asyncio.sleep(0.8)
    done = "<status>failed</status>\n\n<exit_code>7</exit_code>"
    assert (await call("BashOutput", bash_id=job)).text == f"{done}\n\n<stdout>\ntwo\n</stdout>"
    assert (await call("BashOutput", bash_id=job)).text == done
    assert (await call("Read", file_path=started.details["output_file"])).text == "1\tone\n2\ttwo\n3\t"


async def test_a_background_command_that_succeeds_is_completed(call: Call) -> None:
    job = (await call("Bash", command="true", run_in_background=True)).details["job"]
    await asyncio.sleep(0.3)
    assert (await call("BashOutput", bash_id=job)).text == "<status>completed</status>\n\n<exit_code>0</exit_code>"


async def test_a_filter_keeps_lines_that_match(call: Call) -> None:
    job = (await call("Bash", command="seq 30", run_in_background=True)).details["job"]
    await asyncio.sleep(0.3)
    text = (await call("BashOutput", bash_id=job, filter="^2[0-3]$")).text
    assert text.endswith("<stdout>\n20\n21\n22\n23\n</stdout>")


async def test_a_filter_that_is_no_expression_is_an_error_that_says_where_the_output_is(call: Call) -> None:
    started = await call("Bash", command="seq 30", run_in_background=True)
    await asyncio.sleep(0.3)
    for _ in range(2):  # the second time there is nothing new
        result = await call("BashOutput", bash_id=started.details["job"], filter="(")
        assert result.is_error
        assert result.text.startswith("The filter was not accepted: ")
        assert result.text.endswith(f"The whole output is in {started.details['output_file']}.")


async def test_a_stopped_command_is_gone_with_its_children(call: Call) -> None:
    job = (await call("Bash", command="setsid sleep 986 & sleep 986", run_in_background=True)).details["job"]
    await call("KillShell", shell_id=job)
    assert (await call("BashOutput", bash_id=job)).text == "<status>killed</status>"
    assert (await call("Bash", command="grep -lz [9]86 /proc/[0-9]*/cmdline | wc -l")).text == "0"


@pytest.mark.parametrize(("tool", "field"), [("BashOutput", "bash_id"), ("KillShell", "shell_id")])
async def test_an_unknown_id(call: Call, tool: str, field: str) -> None:
    result = await call(tool, **{field: "nope"})
    assert (result.text, result.is_error) == ("No shell found with ID: nope. There are: none", True)


# what else


async def test_output_is_told_while_the_command_runs(ctx: ToolContext, call: Call) -> None:
    seen: list[tuple[float, str]] = []
    ctx.on_output = lambda text: seen.append((time.monotonic(), text))
    await call("Bash", command=r"printf 'caf\303'; sleep 0.4; printf '\251 done'")
    assert "".join(text for _, text in seen) == "café done"
    assert seen[-1][0] - seen[0][0] > 0.2


async def test_a_command_too_long_for_the_kernel_is_refused_with_a_way_out(call: Call) -> None:
    result = await call("Bash", command="true " + "x" * 130_000)
    assert (result.text, result.is_error) == ("The command is too long. Write it to a file and run the file.", True)


async def test_a_nul_character_is_refused(call: Call) -> None:
    assert (await call("Bash", command="echo \0")).text == (
        "<tool_use_error>InputValidationError: Bash failed due to the following issue(s):\n"
        "The parameter `command` was not accepted: a NUL character cannot be part of it</tool_use_error>"
    )


async def test_a_personas_specifier_is_enforced(ctx: ToolContext, call: Call) -> None:
    ctx.rules = {"Bash": ("git:*", "echo done")}
    assert (await call("Bash", command="git --version >/dev/null 2>&1; echo done")).text.endswith("done")
    result = await call("Bash", command="git status; touch x", run_in_background=True)
    assert (result.text, result.is_error) == (
        "<tool_use_error>This persona's Bash is limited to: git:*, echo done. Not allowed: touch x</tool_use_error>",
        True,
    )
    assert (await call("Glob", pattern="*")).text == "No files found"
