"""What the doctor says: a grade, what was looked at, and what was found, with the cure where there is one."""

from __future__ import annotations

from typing import Literal, NamedTuple

Grade = Literal["ok", "warn", "fail"]
GIB = 1 << 30


class Line(NamedTuple):
    grade: Grade
    what: str
    text: str


def disk(what: str, free: int, where: str, cure: str, *, least: int, enough: int) -> Line:
    """Bytes that are free, against those without which nothing works and those that are comfortable."""
    amount = f"{free / GIB:.1f} GiB free {where}"
    if free < least:
        return Line("fail", what, f"{amount}: a run would fill it. {cure}")
    return Line("warn" if free < enough else "ok", what, amount if free >= enough else f"{amount}. {cure}")
