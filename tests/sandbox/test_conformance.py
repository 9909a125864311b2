"""Every backend does what the conformance suite says; so does any image, however little is in it."""

from __future__ import annotations

import pytest

from dockwright.sandbox import Sandbox
from dockwright.testing.conformance import CHECKS, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_conformance(sandbox: Sandbox, check: Check) -> None:
    await check(sandbox)
