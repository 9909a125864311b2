"""The fixtures of tools, for attacks through them, and one careless sandbox for all that leave it as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.adversarial.careless_exec import Careless, careless_sandbox
from tests.sandbox.conftest import call, ctx

__all__ = ["call", "ctx"]


@pytest.fixture(scope="session")
async def shared_careless() -> AsyncIterator[Careless]:
    async with careless_sandbox() as careless:
        yield careless


@pytest.fixture
def careless(shared_careless: Careless) -> Careless:
    return shared_careless
