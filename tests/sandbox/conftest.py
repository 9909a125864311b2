"""What tests of tools need: a context over a real sandbox, and a call with an outcome as the model gets it."""

from __future__ import annotations

from typing import Protocol

import pytest
from pydantic import ValidationError

from dockwright.errors import ToolError
from dockwright.sandbox import Sandbox
from dockwright.tools import TOOLS
from dockwright.tools.base import ToolContext, ToolResult, error_result


class Call(Protocol):
    async def __call__(self, name: str, /, **fields: object) -> ToolResult: ...


@pytest.fixture
def ctx(sandbox: Sandbox) -> ToolContext:
    return ToolContext(sandbox)


@pytest.fixture
def call(ctx: ToolContext) -> Call:
    async def call(name: str, /, **fields: object) -> ToolResult:
        try:
            return await TOOLS[name].model_validate(fields).run(ctx)
        except (ToolError, OSError, ValidationError) as error:
            return error_result(error)

    return call
