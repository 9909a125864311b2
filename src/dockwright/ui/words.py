"""Amounts and states in the words that people read, the same on every screen."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dockwright.claim import Claim
from dockwright.events import Status

MARK = re.compile(r"\[\[(.+?)\]\](?!\])")  # where a report names its evidence: [[pytest -q]]


def duration(seconds: float) -> str:
    """`0.4 s`, `4 s`, `12 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def money(dollars: float | None) -> str:
    """`$0.84`; four places below a cent, so that a cheap run is not shown as free."""
    if dollars is None:
        return "cost unknown"
    return f"${dollars:.4f}" if 0 < dollars < 0.01 else f"${dollars:,.2f}"


def amount(number: int) -> str:
    """`912`, `41k`, `1.2M`."""
    if number < 1000:
        return str(number)
    return f"{number / 1000:.0f}k" if number < 999_500 else f"{number / 1_000_000:.1f}M"


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def verdicts(claims: Sequence[Claim]) -> str:
    """`29 proven, 2 stated`."""
    given = [claim.verdict for claim in claims]
    return ", ".join(f"{given.count(word)} {word}" for word in ("proven", "stated", "refuted") if word in given)


def without_marks(text: str) -> str:
    return re.sub(rf"[ \t]*{MARK.pattern}", "", text)


def status_words(status: str) -> str:
    return status.replace("_", " ")


def status_style(status: Status) -> str:
    match status:
        case "verified":
            return "bold green"
        case "done":
            return "bold"
        case "unverified" | "limit" | "interrupted":
            return "bold yellow"
        case _:
            return "bold red"
