"""A batch listens in its folder: one line of JSON in, one line of JSON out, on a socket that only its user may open.

Addresses of such sockets are at most 107 bytes long and folders may lie deeper, so both ends go by way of a descriptor.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from dockwright.errors import ConfigError
from dockwright.events import JsonObject

SOCKET = "ctl.sock"
_LONGEST_LINE = 1 << 16
_LONGEST_ANSWER = 64 << 20
_SECONDS = 10.0


class _Command(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Plain(_Command):
    do: Literal["list", "pause", "go"]


class Jobs(_Command):
    do: Literal["jobs"]
    jobs: PositiveInt


class Budget(_Command):
    do: Literal["budget"]
    usd: PositiveFloat


class OfTask(_Command):
    do: Literal["cancel", "requeue"]
    id: str


Command = Plain | Jobs | Budget | OfTask
_COMMANDS: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="do")])


@asynccontextmanager
async def listening(out: Path, carry_out: Callable[[Command], JsonObject]) -> AsyncIterator[None]:
    """Take commands until the end of the block. `carry_out` returns what is answered; its own errors are told."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                answer = _answer(await reader.readline(), carry_out)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ValueError, OSError):  # it said nothing or too much, or has gone: its own affair
            pass
        finally:
            writer.close()

    with _address(out) as address:
        with suppress(FileNotFoundError):  # of a process that was killed: the folder is locked, so nobody listens
            os.unlink(address)
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(converse, address, limit=_LONGEST_LINE)
        finally:
            os.umask(before)
        try:
            yield
        finally:
            server.close()
            with suppress(FileNotFoundError):
                os.unlink(address)


async def ask(out: Path, command: JsonObject) -> JsonObject:
    """Have the batch in a folder carry out a command. Raises ConfigError where none is at work, or where it refuses."""
    try:
        async with asyncio.timeout(_SECONDS):
            with _address(out) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=_LONGEST_ANSWER)
            writer.write(json.dumps(command).encode() + b"\n")
            answer = json.loads(await reader.readline())
            writer.close()
    except TimeoutError:
        raise ConfigError(f"The batch in {out} gave no answer in {_SECONDS:g} seconds.") from None
    except (OSError, ValueError):
        raise ConfigError(f"No batch is at work in {out}. Name the --out of one that is running.") from None
    if not isinstance(answer, dict) or "error" in answer:
        raise ConfigError(str(answer["error"]) if isinstance(answer, dict) else "The batch gave no sensible answer.")
    return answer


def _answer(line: bytes, carry_out: Callable[[Command], JsonObject]) -> JsonObject:
    try:
        return carry_out(_COMMANDS.validate_json(line))
    except ValidationError as error:
        faults = error.errors(include_url=False)
        return {"error": f"This is no command of a batch: {faults[0]['msg']}"}
    except (ConfigError, OSError) as error:
        return {"error": str(error)}


@contextmanager
def _address(out: Path) -> Iterator[str]:
    folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
