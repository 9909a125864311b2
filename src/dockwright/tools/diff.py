"""A unified diff of a change, for people; the model is not shown it.

Only the region between the first and the last changed byte is compared, so a small change of a huge file is cheap.
"""

from __future__ import annotations

from difflib import SequenceMatcher

from dockwright.tools.output import decoded, head_and_tail

CONTEXT, COMPARED, LIMIT = 3, 1000, 20_000  # lines around a change, lines of a region that are matched up, characters
BLOCK, REGION = 1 << 16, 1 << 18  # bytes that are compared at once, bytes of a region that are looked at


def unified(path: str, old: bytes, new: bytes) -> str:
    """Empty where nothing changed. A region of more than COMPARED lines is shown as removed, then added."""
    if old == new:
        return ""
    start = old.rfind(b"\n", 0, _first_difference(old, new)) + 1
    end = len(old) - _common_end(old, new, min(len(old), len(new)) - start)
    for _ in range(CONTEXT):
        start = old.rfind(b"\n", 0, max(start - 1, 0)) + 1
    for _ in range(CONTEXT + 1):
        end = (old.find(b"\n", end) + 1) or len(old)
    sides = old[start:end], new[start : len(new) - (len(old) - end)]
    hunks = _hunks(_lines(sides[0][:REGION]), _lines(sides[1][:REGION]), old.count(b"\n", 0, start) + 1)
    cut = "... [the rest of a large change is not shown] ...\n" if max(map(len, sides)) > REGION else ""
    return head_and_tail(f"--- a{path}\n+++ b{path}\n{hunks}", LIMIT) + cut


def _first_difference(one: bytes, other: bytes) -> int:
    at, size = 0, min(len(one), len(other))
    while at < size and one[at : at + BLOCK] == other[at : at + BLOCK]:
        at += BLOCK
    while at < size and one[at] == other[at]:
        at += 1
    return min(at, size)


def _common_end(one: bytes, other: bytes, most: int) -> int:
    """How many of at most `most` bytes at the end are the same."""
    count = 0
    while count + BLOCK <= most and one[-count - BLOCK : -count or None] == other[-count - BLOCK : -count or None]:
        count += BLOCK
    while count < most and one[-1 - count] == other[-1 - count]:
        count += 1
    return count


def _lines(text: bytes) -> list[str]:
    *ended, last = decoded(text).split("\n")
    return [line + "\n" for line in ended] + ([last] if last else [])


def _hunks(before: list[str], after: list[str], first: int) -> str:
    if max(len(before), len(after)) <= COMPARED:
        groups = list(SequenceMatcher(None, before, after).get_grouped_opcodes(CONTEXT))
    else:
        groups = [[("replace", 0, len(before), 0, len(after))]]
    lines: list[str] = []
    for group in groups:
        (_, a, _, b, _), (_, _, a_end, _, b_end) = group[0], group[-1]
        lines.append(f"@@ -{_range(first + a, a_end - a)} +{_range(first + b, b_end - b)} @@\n")
        for kind, i, j, k, m in group:
            if kind == "equal":
                lines += [" " + line for line in before[i:j]]
                continue
            lines += ["-" + line for line in before[i:j]]
            lines += ["+" + line for line in after[k:m]]
    return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def _range(first: int, count: int) -> str:
    return f"{first if count else first - 1},{count}"
