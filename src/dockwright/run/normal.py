"""What a result is when it is compared with that of another day: what cannot be equal is a word in its place.

Only what differs although the same was done is taken away: times, durations, ids that the kernel or we gave out, names
and ports that were drawn, and the hashes of commits, which hold the time of the commit. docs/formats.md lists them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?"
_DAY = rf"(?:\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?\b{_MONTH} +\d{{1,2}}"
_RULES = tuple(
    (re.compile(pattern, re.MULTILINE), word)
    for pattern, word in (
        (rf"\b\d{{4}}-\d\d-\d\d(?:[T ]{_CLOCK})?(?:\s?(?:Z\b|UTC\b|GMT\b|[+-]\d\d:?\d\d))?", "<time>"),
        (rf"{_DAY}(?: {_CLOCK})?(?: [A-Z]{{3,4}})?(?: \d{{4}})?(?: [+-]\d{{4}})?\b", "<time>"),
        (rf"\b\d{{1,2}} {_MONTH} \d{{4}}(?: {_CLOCK})?(?: [A-Z]{{3}})?\b", "<time>"),
        (r"\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b", "<time>"),
        (r"\b1[5-9]\d{8}(?:\.\d+)?\b", "<time>"),
        (r"\b(?:\d+(?:\.\d+)?[hm]\s?)?\d+(?:\.\d+)?\s?(?:ns|us|µs|ms|s|secs?|seconds?)\b", "<duration>"),
        (r"(?i)\b(pid|process(?: id)?)\b([^\w\n]{1,3})\d+", r"\1\2<pid>"),
        (r"^\[(\d+)\](\s*[+-]?\s+)\d+$", r"[\1]\2<pid>"),
        (r"(\blocalhost|\b127\.0\.0\.1|\b0\.0\.0\.0|\[::1?\]):(?:3[2-9]\d{3}|[45]\d{4}|6[0-5]\d{3})\b", r"\1:<port>"),
        (r"\btmp\.?\w{8,10}\b", "<temp>"),
        (r"\b(pytest-of-\w+)/pytest-\d+", r"\1/<temp>"),
        (r"\b0x[0-9a-f]{6,16}\b", "<address>"),
        (r"^(\[\S+ (?:\(root-commit\) )?)[0-9a-f]{7,40}\]", r"\1<commit>]"),  # as git commit says it
        (r"^([*|/\\ ]*)[0-9a-f]{7,40}(?= \S)", r"\1<commit>"),  # as git log --oneline says it
        (r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)(?:[0-9a-f]{40}|[0-9a-f]{7,12})\b", "<commit>"),
    )
)


def normal(text: str, names: Mapping[str, str]) -> list[str]:
    """The lines of a text. `names` are those that were given out, as of jobs and files of output, with their words."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    for pattern, word in _RULES:
        text = pattern.sub(word, text)
    return text.rstrip().split("\n")
