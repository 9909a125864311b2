"""This machine without its sandboxes: git, the folder of the runs, the model's API, the clock."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from dockwright.config import ANTHROPIC_URL, Config
from dockwright.doctor.lines import Line, disk

SECONDS = 5
_OLDEST_GIT = (2, 31)
# The first release of each series without the clone-time code execution of 2024 (CVE-2024-32002 and its like).
_MENDED_GIT = {(2, 39): 4, (2, 40): 2, (2, 41): 1, (2, 42): 2, (2, 43): 4, (2, 44): 1, (2, 45): 1}
_CLOCK_SECONDS = 60


def examine_git() -> Line:
    path = shutil.which("git")
    if path is None:
        return Line("fail", "git", "not there. Install it: apt-get install git")
    try:
        said = subprocess.run([path, "--version"], capture_output=True, timeout=SECONDS, check=True, text=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return Line("fail", "git", f"{path} does not run: {error}. Install it again: apt-get install --reinstall git")
    version = tuple(map(int, re.findall(r"\d+", said)[:3]))
    if version < _OLDEST_GIT:
        return Line("fail", "git", f"{said.strip()}: 2.31 or later is needed. Update it: apt-get install git")
    series, release = (version[0], version[1]), version[2] if len(version) > 2 else 0
    if series < min(_MENDED_GIT) or release < _MENDED_GIT.get(series, 0):
        return Line("warn", "git", f"{said.strip()}: holes are known in it, unless packages closed them. Update it.")
    return Line("ok", "git", f"{said.strip()}, {path}")


def examine_state(state: Path) -> Iterator[Line]:
    if not os.access(state, os.W_OK):
        yield Line("fail", "runs", f"{state} cannot be written. Give it to yourself: sudo chown -R $USER {state}")
    cure = "Make room: dockwright gc, old folders below runs/, or another XDG_STATE_HOME."
    yield disk("runs", shutil.disk_usage(state).free, f"in {state}", cure, least=200 << 20, enough=2 << 30)


def examine_model(config: Config) -> Iterator[Line]:
    model = config.model
    keys = (model.api_key, model.auth_token)
    if model.provider == "anthropic" and not any(keys):
        yield Line("fail", "model key", f"none. Set {model.api_key_env} (or ANTHROPIC_AUTH_TOKEN).")
    else:
        yield Line("ok", "model key", "from the environment" if any(keys) else f"{model.provider}'s own credentials")
    url = model.base_url or ANTHROPIC_URL
    if model.proxy or model.provider != "anthropic":
        yield Line("ok", "model API", f"{model.model_id()} at {url if model.proxy else model.provider}: not tried")
        yield from _clock(None)
        return
    try:
        date = _date_of(url, model.ca_file)
    except (OSError, http.client.HTTPException) as error:
        cure = "Check the network, the proxy (HTTPS_PROXY), or ANTHROPIC_BASE_URL"
        if isinstance(error, ssl.SSLCertVerificationError):
            cure = "Name your company's CA bundle in SSL_CERT_FILE, or mend the clock"
        yield Line("fail", "model API", f"{url} does not answer ({error}). {cure}.")
        yield from _clock(None)
        return
    yield Line("ok", "model API", f"{model.model_id()} at {url}")
    yield from _clock(date)


def _date_of(url: str, ca_file: Path | None) -> str | None:
    """When it is for the server. Any answer will do; no key is sent."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=SECONDS, context=context
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().getheader("Date")
    finally:
        connection.close()


def _clock(said: str | None) -> Iterator[Line]:
    """Against the server's, where it said one: a wrong clock fails certificates, and makes builds of tomorrow."""
    try:
        there = parsedate_to_datetime(said) if said else None
    except ValueError:
        there = None
    if there is None:
        return
    off = (datetime.now(UTC) - there.astimezone(UTC)).total_seconds()
    if abs(off) > _CLOCK_SECONDS:
        late = f"{abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"
        yield Line("fail", "clock", f"{late} of the model API's. Set it: sudo timedatectl set-ntp true")
    else:
        yield Line("ok", "clock", "as the model API's")
