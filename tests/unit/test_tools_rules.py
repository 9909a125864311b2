"""A persona's specifiers: what they let pass, and that whatever is unclear is refused."""

from __future__ import annotations

import time

import pytest

from dockwright.tools.base import Refused
from dockwright.tools.rules import check

RULES = ("git:*", "npm run build", "ls *", "make * DEBUG=1")

ALLOWED = [
    "git", "git status", "  git log --oneline ", "git\tstatus", "npm run build", "ls", "ls -l", "make all DEBUG=1",
    "git add . && git commit -m 'a; b && c | d' || ls", "git log | git shortlog", "git fetch & git status", "git a;",
    "git status\ngit log\n", "git status 2>&1", "git status >/dev/null 2>&1", "git status &>/dev/null", "git a |& ls",
    'git commit -m "it\'s; $NAME \\" x"', "git show a\\;b", "git commit -m a#b", "git log 'a\nb'", "git rm $FILE",
]  # fmt: skip

REFUSED = [
    "rm -rf x", "gitk", "git-foo", "npm run builder", "npm run build x", "lsof", "make all", "sudo git status",
    "git status; rm x", "git status && rm x", "git status || rm x", "git status | sh", "git status & rm x",
    "git status\nrm x", "git $(rm x)", "git `rm x`", 'git "$(rm x)"', 'git "`rm x`"', "git <(rm x)", "git >(rm x)",
    "(git status)", "{ git status; }", "git status > out", "git status >> out", "git status 2> out", "git apply < x",
    "git status >&out", "git status >/dev/null/x", "git status 2>&1x", "git status &> out", "git <<END\nEND",
    "git 'open", 'git "open', "git ${x}", "git $((1))", "git $'a\\'b; rm x'", "git status # it's\nrm x #'", "# git",
    "x=1 git status", "if git; then rm x; fi", "! git status", "g\\it status", "git\\\nx", "git() { rm x; }", "git \\",
    "rm 'git status'", "time git status",
]  # fmt: skip


@pytest.mark.parametrize("command", ALLOWED)
def test_allowed(command: str) -> None:
    check(command, RULES)


@pytest.mark.parametrize("command", REFUSED)
def test_refused(command: str) -> None:
    with pytest.raises(
        Refused, match=r"^This persona's Bash is limited to: git:\*, npm run build, ls \*, make \* DEBUG=1\."
    ):
        check(command, RULES)


def test_a_lone_star_allows_everything() -> None:
    check("anything $(at all)", ("*",))


@pytest.mark.parametrize(
    "command", ['git "' + "$aa" * 5000, "git " + "'a'" * 50_000 + '"', "git " + '"$a"' * 9999 + "("]
)
def test_a_hostile_command_takes_no_time(command: str) -> None:
    began = time.monotonic()
    with pytest.raises(Refused):
        check(command, RULES)
    assert time.monotonic() - began < 10


def test_no_rule_allows_nothing() -> None:
    with pytest.raises(Refused):
        check("true", ())


@pytest.mark.parametrize(
    ("rule", "command", "allowed"),
    [
        ("a*c", "abc", True),
        ("a*c", "ac", True),
        ("a*c", "abcd", False),
        ("a*b*c", "a b b c", True),
        ("a*b*c", "a c", False),
        ("ab*b", "ab", False),
        ("* --version", "node --version", True),
        ("npm run *:*", "npm run x", True),
        ("git * main:*", "git push main now", True),
        ("git * main:*", "git push mainly", False),
    ],
)
def test_stars(rule: str, command: str, allowed: bool) -> None:
    if allowed:
        check(command, (rule,))
        return
    with pytest.raises(Refused):
        check(command, (rule,))
