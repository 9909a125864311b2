"""The fixtures of tools, for attacks through them."""

from __future__ import annotations

from tests.sandbox.conftest import call, ctx

__all__ = ["call", "ctx"]
