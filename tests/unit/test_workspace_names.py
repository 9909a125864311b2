"""Which names and links may cross between sandbox and host."""

from __future__ import annotations

import pytest

from dockwright.workspace.names import leads_outside, refusal

LIKE_GIT = [
    b".git", b".GIT", b".Git", b"git~1", b"GIT~2", b".git.", b".git ", b".git . .", b".git::$INDEX_ALLOCATION",
    b".g\xe2\x80\x8cit", b".gi\xef\xbb\xbft", b"\xe2\x80\xae.git", b"x\\.git", b".git\\config",
]  # fmt: skip


@pytest.mark.parametrize("name", LIKE_GIT)
@pytest.mark.parametrize("place", [b"%s", b"%s/config", b"a/b/%s", b"a/%s/hooks/x"])
def test_a_name_that_some_system_reads_as_dot_git_is_refused(name: bytes, place: bytes) -> None:
    assert refusal(place % name) == "a name that some systems read as .git"


@pytest.mark.parametrize("path", [b"..", b"../x", b"a/../b", b"/etc/passwd", b"a//b", b"a/", b"", b"./a", b"a/."])
def test_a_path_that_leads_elsewhere_is_refused(path: bytes) -> None:
    assert refusal(path) == "leads elsewhere"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"a\0b", "holds a NUL byte"),
        (b"x/" * 2048 + b"y", "longer than 4,096 bytes"),
        (b"x" * 256, "a name of more than 255 bytes"),
    ],
)
def test_a_path_that_no_file_system_takes_is_refused(path: bytes, why: str) -> None:
    assert refusal(path) == why


@pytest.mark.parametrize(
    "path",
    [
        b"a", b".gitignore", b".gitmodules", b".github/workflows/ci.yml", b"digit", b"git", b"legit~1", b"a b",
        b"caf\xc3\xa9", b"\xff\xfe", b"a\nb", b'"quoted"', b"-rf", b"...", b"a\\b", b"x" * 255, b".gitattributes",
    ],
)  # fmt: skip
def test_every_other_name_may_cross(path: bytes) -> None:
    assert refusal(path) is None


@pytest.mark.parametrize(
    ("path", "target", "outside"),
    [
        (b"link", b"/etc/passwd", True),
        (b"link", b"..", True),
        (b"a/link", b"../..", True),
        (b"a/link", b"../b/../../c", True),
        (b"a/b/link", b"x/../../../y", False),
        (b"a/b/link", b"../../../y", True),
        (b"a/link", b"../b", False),
        (b"link", b"a/../b", False),
        (b"link", b".", False),
    ],
)
def test_a_link_leads_outside_by_its_text_alone(path: bytes, target: bytes, outside: bool) -> None:
    assert leads_outside(path, target) is outside
