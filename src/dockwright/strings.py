"""The strings of a JSON value or of an event, wherever they stand in it: for redaction, for text that has a UTF-8 form,
for lines that are not too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel


def with_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value, or an event, with each of its strings changed, keys included."""
    match value:
        case str():
            return change(value)
        case dict():
            return {change(key): with_strings(item, change) for key, item in value.items()}
        case list() | tuple():
            return type(value)(with_strings(item, change) for item in value)
        case BaseModel():
            fields = type(value).model_fields
            return value.model_copy(update={name: with_strings(getattr(value, name), change) for name in fields})
    return value
