"""What checks stand on: the files of the base commit that a command names, or that its program goes by.

One level deep and no more: `make test` stands on the Makefile, not on what that calls. Where the agent changed such a
file, the checks are run a second time with it as it was, and both must pass.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from itertools import pairwise
from posixpath import basename, normpath

from dockwright.sandbox import WORKSPACE
from dockwright.workspace import Workspace
from dockwright.workspace.names import quoted, text
from dockwright.workspace.objects import Entry, tree_of

_PYTEST = ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml", "conftest.py", "*/conftest.py")
_READ_BY: Mapping[str, tuple[str, ...]] = {
    "make": ("Makefile", "makefile", "GNUmakefile"),
    "just": ("justfile", "Justfile", ".justfile"),
    "task": ("Taskfile.yml", "Taskfile.yaml"),
    "rake": ("Rakefile",),
    "tox": ("tox.ini", "pyproject.toml", "setup.cfg"),
    "nox": ("noxfile.py",),
    "hatch": ("pyproject.toml", "hatch.toml"),
    "pytest": _PYTEST,
    "py.test": _PYTEST,
    **dict.fromkeys(("npm", "yarn", "pnpm", "bun"), ("package.json",)),
    "jest": ("package.json", "jest.config.*"),
    "vitest": ("vitest.config.*", "vite.config.*"),
    "mocha": ("package.json", ".mocharc.*"),
    "rspec": (".rspec", "spec/spec_helper.rb", "spec/rails_helper.rb"),
    "phpunit": ("phpunit.xml", "phpunit.xml.dist"),
    "composer": ("composer.json",),
}
_SCRIPTS = ("scripts", "jest", "mocha", "ava", "vitest")  # of package.json and composer.json; the rest may change
_TOOLS = ("pytest", "tox", "hatch")  # tables below [tool] in pyproject.toml; the rest may change


def stands_on(checks: Iterable[str], paths: Iterable[str]) -> set[str]:
    """Those of the paths of a tree that the checks stand on."""
    known = set(paths)
    found: set[str] = set()
    for check in checks:
        words = _words(check)
        folders = ["", *(after for word, after in pairwise(words) if word == "cd")]
        patterns = [pattern for word in words for pattern in _READ_BY.get(basename(word), ())]
        for folder in folders:
            found |= known & {normpath(f"{folder}/{name}").lstrip("/") for name in _names(words)}
            found |= {path for path in known for pattern in patterns if fnmatch(path, _below(folder, pattern))}
    return found


def _words(check: str) -> list[str]:
    lexer = shlex.shlex(check, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return check.split()


def _names(words: Sequence[str]) -> Iterator[str]:
    for before, word in zip(["", *words], words, strict=False):
        name = word.partition("::")[0].removeprefix(f"{WORKSPACE}/")
        yield name
        if before == "-m":
            module = name.replace(".", "/")
            yield from (f"{module}.py", f"{module}/__main__.py")


def _below(folder: str, pattern: str) -> str:
    return normpath(f"{folder}/{pattern}").lstrip("/")


async def changed_files(
    workspace: Workspace, commit: str, checks: Sequence[str], may_change: Sequence[str] = ()
) -> dict[str, Entry | bytes]:
    """The files that the checks stand on and that differ in a commit, each as it has to be put back."""
    base, new = [await tree_of(workspace.quarantine, name) for name in (workspace.base, commit)]
    changed: dict[str, Entry | bytes] = {}
    for path in sorted(stands_on(checks, map(text, base))):
        key = path.encode("utf-8", "surrogateescape")
        entry, now = base[key], new.get(key)
        if now == entry or any(fnmatch(path, pattern) for pattern in may_change):
            continue
        old_data = await _blob(workspace, entry.oid)
        new_data = await _blob(workspace, now.oid) if now else b""
        if now is None or _what_counts(path, old_data) != _what_counts(path, new_data):
            changed[path] = _put_back(path, old_data, new_data) or entry
    return changed


async def with_the_checks_of_base(workspace: Workspace, commit: str, files: Mapping[str, Entry | bytes]) -> str:
    """A commit like another, with these files put back."""
    stream = b"commit refs/dockwright/checks\ncommitter dockwright <noreply@dockwright.invalid> 0 +0000\n"
    stream += b"data 6\nChecks\nfrom %s\n" % commit.encode()
    for name, content in files.items():
        path = quoted(name.encode("utf-8", "surrogateescape"))
        if isinstance(content, bytes):
            stream += b"M 100644 inline %s\ndata %d\n%s\n" % (path, len(content), content)
        else:
            stream += b"M %s %s %s\n" % (content.mode.encode(), content.oid.encode(), path)
    await workspace.quarantine.git("fast-import", "--quiet", "--force", stdin=stream)
    return await workspace.quarantine.id("refs/dockwright/checks")


async def _blob(workspace: Workspace, oid: str) -> bytes:
    return await workspace.quarantine.git("cat-file", "blob", oid)


def _what_counts(path: str, data: bytes) -> object:
    """The part of a file that says what a check does, where the rest of it is the project's own."""
    try:
        match basename(path):
            case "package.json" | "composer.json":
                whole = json.loads(data)
                return {key: whole.get(key) for key in _SCRIPTS}
            case "pyproject.toml":
                tools = tomllib.loads(data.decode()).get("tool", {})
                return {key: tools.get(key) for key in _TOOLS}
            case "setup.cfg":
                return re.findall(rb"^\[tool:pytest\].*?(?=^\[|\Z)", data, re.MULTILINE | re.DOTALL)
    except (ValueError, AttributeError):
        pass
    return data


def _put_back(path: str, old: bytes, new: bytes) -> bytes | None:
    """For a file with dependencies in it, the new one with the old scripts; None for the old file as it was."""
    if basename(path) not in ("package.json", "composer.json") or not new:
        return None
    try:
        before, after = json.loads(old), json.loads(new)
        kept = {key: value for key, value in after.items() if key not in _SCRIPTS}
        return json.dumps({**kept, **{key: before[key] for key in _SCRIPTS if key in before}}, indent=2).encode()
    except (ValueError, AttributeError, TypeError):
        return None
