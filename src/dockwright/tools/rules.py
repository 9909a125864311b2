"""The persona's specifiers for Bash, enforced: `Bash(git:*)` means git and nothing else.

This is policy for a well-meaning model, not security: git alone can run anything, and the sandbox is the boundary. So
the reading is narrow and simple: what cannot be split into plain commands with certainty is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from dockwright.tools.base import Refused
from dockwright.tools.output import quoted

_TOKEN = re.compile(
    r"""
      (?P<quoted>  '[^']*' | "(?:[^"\\$`]|\\.|\$(?=\w))*" | \\. )
    | (?P<harmless> (?<!\S)\d*>&\d(?![^\s;&|]) | (?<!\S)(?:\d*|&)>>?[ ]*/dev/null(?![^\s;&|]) )
    | (?P<redirection> &?(?:>>?|<(?!<))(?!\() )
    | (?P<between> &&? | \|[|&]? | ; | \n )
    | (?P<variable> \$\w+ )
    | (?P<plain> [^'"\\$`()<>#;&|\n] | (?<=[^\s;&|])\# )
    """,
    re.VERBOSE | re.DOTALL,
)


def parts(command: str, *, redirections: bool = False) -> list[tuple[str, str]]:
    """Each plain command with the operator that follows it. Raises ValueError at the first thing that is none."""
    found, text, at = [], "", 0
    while at < len(command):
        token = _TOKEN.match(command, at)
        if not token or (token["redirection"] and not redirections):
            raise ValueError(quoted(command[at : at + 20], 20))
        if token["between"]:
            found.append((text.strip(), token["between"]))
            text = ""
        elif not token["harmless"]:
            text += token[0]
        at = token.end()
    return [part for part in (*found, (text.strip(), "")) if part[0]]


def check(command: str, rules: Sequence[str]) -> None:
    """Raises Refused where a part of `command` is allowed by none of `rules`."""
    if "*" in rules:
        return
    limits = f"This persona's Bash is limited to: {', '.join(rules)}."
    try:
        commands = [text for text, _ in parts(command)]
    except ValueError as error:
        raise Refused(
            f"{limits} Substitutions, subshells, comments and redirections cannot be checked against it: {error}"
        ) from error
    for text in commands:
        if not any(_matches(text, rule) for rule in rules):
            raise Refused(f"{limits} Not allowed: {quoted(text)}")


def _matches(text: str, rule: str) -> bool:
    """`x:*` and a trailing ` *`: x itself or x with arguments. `*` elsewhere: anything. No `*`: exactly that."""
    stem = rule.removesuffix(":*") if rule.endswith(":*") else rule.removesuffix(" *")
    text = text.replace("\t", " ")
    return _like(text, stem) or (stem != rule and _like(text, f"{stem} *"))


def _like(text: str, pattern: str) -> bool:
    """Stars only, and in linear time: no command is so long or so odd that this takes a while."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    at = len(first) if text.startswith(first) else -1
    for piece in rest[:-1]:
        at = text.find(piece, at) + len(piece) if at >= 0 and piece in text[at:] else -1
    return at >= 0 and text.endswith(rest[-1]) and len(text) - len(rest[-1]) >= at
