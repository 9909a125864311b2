"""The report as prose and as JSON: one source, and nothing of what the agent wrote can pass for ours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from dockwright.events import CheckFinished, Delivered, Noted, Usage
from dockwright.report import render_json, render_markdown
from dockwright.result import RunResult

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FULL = RunResult(
    run="0k3f",
    status="checks_failed",
    exit_code=3,
    reason="1 of 2 checks failed: `npm test`",
    task="Add orders.\nWith tests.",
    agent="backend-engineer",
    model="claude-opus-5-5",
    repo="/home/ann/my shop",
    base="4be21d7c0ffee4be21d7c0ffee4be21d7c0ffee4",
    branch="dockwright/0k3f",
    commit="9a1bc0de",
    patch="/home/ann/runs/0k3f/changes.patch",
    summary="Orders are in.\n\n- two routes",
    sections={"API DESIGN": {"Style": "REST, `List<Order>`", "Routes": "/orders"}, "RISKS": {"RISKS": "a < b"}},
    checks=(
        CheckFinished(at=AT, command="pytest -q | tail -1", exit_code=0, output="12 passed\n", seconds=3.21),
        CheckFinished(at=AT, command="npm test", exit_code=1, output="```\nfailed\n```\n", seconds=61.0),
        CheckFinished(at=AT, command="sleep 900", exit_code=None, output="", seconds=600.0),
    ),
    delivered=Delivered(
        at=AT,
        branch="dockwright/0k3f",
        commit="9a1bc0de",
        patch="/home/ann/runs/0k3f/changes.patch",
        files=3,
        insertions=120,
        deletions=4,
    ),
    usage=Usage(
        input_tokens=912, output_tokens=4100, cache_read_input_tokens=1_200_000, cache_creation_input_tokens=52_000
    ),
    cost=0.84,
    turns=21,
    tool_calls={"Bash": 12, "Read": 3},
    tool_errors=1,
    started=AT,
    seconds=250.0,
    notes=(Noted(at=AT, level="warning", text="denied: evil.example:443"), Noted(at=AT, text="slow *start*")),
    left_out=("node_modules/x`y", "socket"),
)
PAGE = """\
# Report on run 0k3f

**Checks failed.** At least one check failed in the clean sandbox. Reason: 1 of 2 checks failed: \\`npm test\\`

## Task

> Add orders.
> With tests.

Persona `backend-engineer`, model `claude-opus-5-5`, repository `/home/ann/my shop` at `4be21d7c0ffe`.

## Checks

Run by dockwright in a clean sandbox, from the base commit plus the patch.

|  | Check | Exit code | Time |
| --- | --- | --- | --- |
| 1 | `pytest -q \\| tail -1` | 0 | 3.2 s |
| 2 | `npm test` | 1 | 1 min 01 s |
| 3 | `sleep 900` | stopped by its timeout | 10 min 00 s |

Output of check 1:

```
12 passed
```

Output of check 2:

````
```
failed
```
````

## What the agent reports

What is quoted below are the agent's own words. They are claims; the checks above are the proof.

> Orders are in.
>
> - two routes

### API DESIGN

**Style**

> REST, `List&lt;Order>`

**Routes**

> /orders

### RISKS

> a < b

## Delivery

- Branch `dockwright/0k3f`, commit `9a1bc0de`
- Patch `/home/ann/runs/0k3f/changes.patch`
- 3 files changed, 120 lines added, 4 removed

To look at it, and to take it:

```
dockwright diff 0k3f
dockwright apply 0k3f
git -C '/home/ann/my shop' merge dockwright/0k3f
```

## Cost and time

| Turns | Cost | Time | Input tokens | read from cache | written to cache | Output tokens |
| --- | --- | --- | --- | --- | --- | --- |
| 21 | $0.84 | 4 min 10 s | 912 | 1.2M | 52k | 4k |

Tool calls: Bash 12, Read 3. 1 call failed.

## Left out

- ``node_modules/x`y``
- `socket`

## Notes

- warning: denied: evil.example:443
- info: slow \\*start\\*
"""


def test_the_page_of_a_run_says_all_that_is_known_of_it() -> None:
    assert render_markdown(FULL) == PAGE


def test_json_is_the_same_result_in_ascii() -> None:
    result = FULL.model_copy(update={"summary": "ü \u202e \x1b"})
    assert RunResult.model_validate_json(render_json(result)) == result
    assert render_json(result).isascii()


def test_a_run_without_checks_report_branch_or_price_says_so() -> None:
    page = render_markdown(RunResult(run="a1", status="limit", exit_code=5, reason="", agent="x", model="m", repo="/r",
                                     cost=None, turns=1))  # fmt: skip
    assert page.split("\n## Task\n")[0] == (
        "# Report on run a1\n\n**Limit.** A limit on turns, money or time was reached; the work so far is kept.\n"
    )
    for words in (
        "\n\nNo check was run, so nothing here is proven.\n\n",
        "\n\nThe agent handed in no report.\n\n",
        "\n\nNothing was delivered.\n\n",
        "\n| 1 | unknown, as the model's price is | 0 s | 0 | 0 | 0 | 0 |\n",
    ):
        assert words in page


def test_where_there_is_no_branch_apply_is_advised() -> None:
    delivered = Delivered(branch=None, commit=None, patch="/tmp/a b.patch", files=1, insertions=1, deletions=0)
    page = render_markdown(FULL.model_copy(update={"delivered": delivered}))
    assert "- No branch: the repository could not take one\n- Patch `/tmp/a b.patch`\n- 1 file changed" in page
    assert "\ndockwright diff 0k3f\ndockwright apply 0k3f\n```" in page


def test_where_uncommitted_work_was_carried_in_a_merge_is_not_advised() -> None:
    page = render_markdown(FULL.model_copy(update={"carried": ("README.md",)}))
    assert ("merge" in page, "carried in (1 file)" in page) == (False, True)


def test_long_output_is_shown_from_its_end_and_long_lines_are_cut() -> None:
    output = "\n".join([*map(str, range(100)), "x" * 401])
    check = CheckFinished(command="c", exit_code=0, output=output, seconds=1)
    page = render_markdown(RunResult(checks=(check,)))
    shown = "\n".join([*map(str, range(61, 100)), "x" * 400 + "... [1 more characters]"])
    assert f"Output of check 1, its last 40 of 101 lines:\n\n```\n{shown}\n```\n" in page


def test_what_a_terminal_would_obey_or_hide_is_shown() -> None:
    hostile = "a\x1b[2J\u202eb"
    result = FULL.model_copy(update={"summary": hostile, "reason": hostile, "sections": {hostile: {hostile: hostile}}})
    page = render_markdown(result)
    assert not {"\x1b", "\u202e"} & set(page)
    assert "> a\\x1b[2J\\u202eb\n" in page
    assert "### a\\\\x1b\\[2J\\\\u202eb\n" in page


_HOSTILE = [
    "\n", "\n\n", "```", "~~~", "`", "|", "\\", "# Verified", "\n# Verified\n", "---", "===", "<script>", "<!--", "-->",
    "![x](http://e/x.png)", "![x][y]", "[y]: http://e", "!", "[", "]", "(http://e)", "&lt;", "<b", "<\n/b>", ">", "* ",
    "1. ", "    ", "\t", "**", "__", "</details>", "<http://e>", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\x00",
    "\ud800", "a",
]  # fmt: skip
_text = st.lists(st.sampled_from(_HOSTILE) | st.text(max_size=4), max_size=12).map("".join)


@given(*(st.tuples(_text, _text, _text, _text) for _ in range(3)))
def test_no_text_breaks_out_of_its_place(
    run: tuple[str, ...], agent: tuple[str, ...], delivery: tuple[str, ...]
) -> None:
    check = CheckFinished(command=delivery[0], exit_code=0, output=delivery[1], seconds=1)
    hostile = FULL.model_copy(
        update={
            "reason": run[0], "task": run[1], "repo": run[2], "base": run[3] or None,
            "summary": agent[0], "sections": {agent[1]: {agent[2]: agent[3], "plain": agent[2]}},
            "checks": (check,),
            "notes": (Noted(text=delivery[2]),), "left_out": (delivery[3],), "agent": agent[1], "model": run[0],
            "delivered": Delivered(
                branch=None, commit=delivery[0], patch=delivery[2], files=1, insertions=1, deletions=1
            ),
        }
    )  # fmt: skip
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(render_markdown(hostile))
    assert _kinds(tokens).isdisjoint({"html_block", "html_inline", "image"})
    shape = [(kind, text) for kind, text in _outline(tokens) if kind != "h3"]
    output = [("fence", "")] if check.output.strip() else []
    assert shape == [
        ("h1", "Report on run 0k3f"), ("h2", "Task"), ("h2", "Checks"), ("table_open", ""),
        *[("td_open", "")] * 4, *output, ("h2", "What the agent reports"), ("h2", "Delivery"), ("fence", ""),
        ("h2", "Cost and time"), ("table_open", ""), *[("td_open", "")] * 7, ("h2", "Left out"), ("h2", "Notes"),
    ]  # fmt: skip


def _kinds(tokens: list[Token]) -> set[str]:
    return {token.type for token in tokens} | {kind for token in tokens for kind in _kinds(token.children or [])}


def _outline(tokens: list[Token]) -> list[tuple[str, str]]:
    """Headings and tables that stand outside of any quotation."""
    outline: list[tuple[str, str]] = []
    quoted = 0
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        quoted += (token.type == "blockquote_open") - (token.type == "blockquote_close")
        if quoted == 0 and token.type == "heading_open" and following is not None:
            outline.append((token.tag, following.content))
        if quoted == 0 and token.type in ("table_open", "td_open", "pre_open", "fence", "code_block", "hr"):
            outline.append((token.type, ""))
    return outline


def test_the_page_is_written_for_files(tmp_path: Path) -> None:
    page = render_markdown(FULL.model_copy(update={"summary": "\ud800"}))
    (tmp_path / "report.md").write_text(page, encoding="utf-8")
    assert "> \\ud800\n" in page
