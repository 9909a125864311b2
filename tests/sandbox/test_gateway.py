"""The way out of a sandbox, over the real stream: what is allowed works with ordinary clients, the rest says why."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.conftest import new_place

from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.sandbox.dial import Route
from dockwright.sandbox.gateway import open_gateway
from dockwright.sandbox.policy import Policy

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
CA = Path("/etc/ssl/certs/ca-certificates.crt")


def package_index() -> str:
    """The package index that pip would use here."""
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    ).stdout.strip()
    if said:
        return said
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def said_by(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


INDEX = package_index()
HOST = urlsplit(INDEX).hostname or ""
PAGE = said_by("curl", "-sSL", f"{INDEX.rstrip('/')}/six/")
FILES_HOST = (
    urlsplit([INDEX, *re.findall(r'href="(https?://[^"#]+)', PAGE)][-1]).hostname or HOST
)  # where the index leads to
REGISTRY = said_by("npm", "config", "get", "registry")
NPM_HOST = urlsplit(REGISTRY).hostname or ""
MIRROR = next(
    line.split()[0]
    for line in said_by("apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL) $(CODENAME)").splitlines()
    if line.endswith(" Debian bookworm")
)
APT_HOST = urlsplit(MIRROR).hostname or ""


@pytest.fixture(scope="module")
async def asked() -> list[tuple[str, int, bool]]:
    return []


@pytest.fixture(scope="module", params=["docker", "bubblewrap"])
async def guarded(request: pytest.FixtureRequest, asked: list[tuple[str, int, bool]]) -> AsyncIterator[Sandbox]:
    async with open_sandbox(new_place(request.param)) as sandbox:
        sandbox.asked.tell = lambda target, why, _: asked.append((target.host, target.port, why is None))
        policy = Policy.parse((HOST, FILES_HOST, NPM_HOST, APT_HOST, "localhost"))
        env = await open_gateway(sandbox, Route(policy), CA.read_bytes())
        yield replace(sandbox, env={**sandbox.env, **env})


async def test_an_allowed_host_answers_with_its_certificate_checked(
    guarded: Sandbox, asked: list[tuple[str, int, bool]]
) -> None:
    done = await guarded.exec(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", f"{INDEX.rstrip('/')}/six/"])
    assert (done.stdout, done.stderr) == (b"200", b"")
    assert (HOST, 443, True) in asked


async def test_pip_installs_through_it(guarded: Sandbox) -> None:
    done = await guarded.exec(
        ["pip", "install", "--quiet", "--no-deps", "--target", "/tmp/pip", "--index-url", INDEX, "six"], merge=True
    )
    assert done.exit_code == 0, done.stdout
    assert (await guarded.stat("/tmp/pip/six.py")).kind == "file"


async def test_npm_installs_through_it(guarded: Sandbox) -> None:
    done = await guarded.exec(
        ["npm", "install", "--no-audit", "--prefix", "/tmp/npm", "--registry", REGISTRY, "is-number"], merge=True
    )
    assert done.exit_code == 0, done.stdout
    assert (await guarded.stat("/tmp/npm/node_modules/is-number/package.json")).kind == "file"


async def test_apt_updates_through_it(guarded: Sandbox, asked: list[tuple[str, int, bool]]) -> None:
    await guarded.write("/tmp/apt/sources.list", f"deb [signed-by={KEYS}] {MIRROR} bookworm main\n".encode())
    await guarded.exec(["mkdir", "-p", "/tmp/apt/lists/partial", "/tmp/apt/cache/archives/partial"])
    options = {
        "Dir::Etc::SourceList": "/tmp/apt/sources.list", "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": "/tmp/apt/lists", "Dir::Cache": "/tmp/apt/cache", "Acquire::Languages": "none",
        "APT::Update::Error-Mode": "any",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = await guarded.exec(["apt-get", "update", *words], merge=True)
    assert done.exit_code == 0, done.stdout
    assert (APT_HOST, 443 if MIRROR.startswith("https") else 80, True) in asked


async def test_git_checks_the_certificate_through_it(guarded: Sandbox) -> None:
    """An index is no repository, so the answer is that there is none; without the CAs it would be another one."""
    command = ["git", "ls-remote", f"{INDEX.rstrip('/')}/six/"]
    done = await guarded.exec(command, merge=True)
    blind = await guarded.exec(command, env={"GIT_SSL_CAINFO": "/dev/null"}, merge=True)
    assert (done.exit_code, b"certificate" in done.stdout, b"certificate" in blind.stdout) == (128, False, True)


async def test_another_host_is_denied_with_the_reason_and_told_to_the_host(
    guarded: Sandbox, asked: list[tuple[str, int, bool]]
) -> None:
    plain = await guarded.exec(["curl", "-sS", "http://denied.example/"])
    tunnel = await guarded.exec(["curl", "-sS", "https://denied.example/"])
    said = "dockwright: the network policy of this sandbox denies"
    allowed = ", ".join(sorted({HOST, FILES_HOST, NPM_HOST, APT_HOST, "localhost"}))
    assert plain.stdout.decode() == f"{said} denied.example:80: only {allowed} may be reached\n"
    assert b"403" in tunnel.stderr
    assert {("denied.example", 80, False), ("denied.example", 443, False)} <= set(asked)


async def test_this_machine_is_refused_even_by_an_allowed_name(guarded: Sandbox) -> None:
    done = await guarded.exec(["curl", "-sS", "--noproxy", "", "-x", "http://127.0.0.1:3128", "http://localhost/"])
    assert "an address of this machine" in done.stdout.decode()


@pytest.mark.parametrize(
    "target", ["http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://a%00b/", "ftp://x/"]
)
async def test_odd_spellings_are_refused(guarded: Sandbox, target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    code = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', 3128)); "
        "s.sendall(sys.stdin.buffer.read()); print(s.recv(99))"
    )
    done = await guarded.exec([f"{guarded.runtime}/bin/python3", "-I", "-S", "-c", code], stdin=request, timeout=30)
    assert done.stdout.startswith((b"b'HTTP/1.1 403", b"b'HTTP/1.1 400"))


async def test_without_a_gateway_nothing_listens(sandbox: Sandbox) -> None:
    done = await sandbox.exec(["curl", "-sS", "-x", "http://127.0.0.1:3128", "http://denied.example/"])
    assert done.exit_code == 7
