"""A process of its own that speaks Ray: holds slots of a cluster and carries connections to the engines of its nodes.

Ray ends the process that has lost its cluster, prints, and takes signals over, so the batch is another process. What
runs on the nodes goes there from here by value, for this is `__main__`: they need Ray and an engine, not dockwright.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dockwright.sandbox.address import find_engine

SLOT = "docker_slot"
_PIECE = 1 << 16  # Ray carries up to 100 kB in the call itself
_HELLO_SECONDS = 5
_AWAY_SECONDS = 60.0
_LOOK_EVERY = 5.0
_MOST_SAID = 500
_SHORT = 16  # of a node's id, for the paths of sockets may not be long
_NO_SLOT = (
    f"no node of the cluster has {SLOT}; start one with: ray start --address=HEAD:6379 --resources='{{\"{SLOT}\": 4}}'"
)
_ONCE = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0}


class Slot:
    """Takes one of a node's slots up for as long as it lives."""

    async def begin(self) -> str:
        """The node's id, as soon as the engine there takes connections. Raises OSError where it does not: after a
        while, for Ray would give the slot of a node that is quick to fail to the next task at once."""
        until = time.monotonic() + _AWAY_SECONDS
        while True:
            try:
                (await _dial())[1].close()
            except OSError as error:
                if time.monotonic() > until:
                    at = f"{find_engine(os.environ).url} on {ray.util.get_node_ip_address()}"
                    raise OSError(f"no Docker engine takes connections at {at}") from error
                await asyncio.sleep(1)
            else:
                return str(ray.get_runtime_context().get_node_id())

    async def held(self) -> None:
        """Ends with the node only."""
        await asyncio.Event().wait()


class Link:
    """On a node: connections to the engine there, by number."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def connect(self, number: int) -> None:
        self._open[number] = await _dial()

    async def send(self, number: int, data: bytes) -> None:
        """No data is the end of what is sent."""
        _, writer = self._open[number]
        if data:
            writer.write(data)
            await writer.drain()
        else:
            writer.write_eof()

    async def receive(self, number: int) -> bytes:
        """What has come, at least a byte; none at the end."""
        return await self._open[number][0].read(_PIECE)

    async def close(self, number: int) -> None:
        if number in self._open:
            self._open.pop(number)[1].close()


async def _dial() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the engine of this machine. Raises OSError."""
    found = find_engine(os.environ)
    kind, _, where = found.url.partition("://")
    async with asyncio.timeout(_HELLO_SECONDS):
        if kind == "unix":
            return await asyncio.open_unix_connection(where)
        if kind in ("tcp", "http"):
            host, _, port = where.rpartition(":")
            return await asyncio.open_connection(host.strip("[]"), int(port))
    raise OSError(f"{found.url} cannot be carried")


class Relay:
    """What can be connected to in the folder: `slots`, where each connection has a slot until it ends and is told on
    which node; `nodes`, which tells all nodes that have slots; and the engine of each node. A node is told as the
    address of its engine here and its own name."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        self._slot: Any = ray.remote(resources={SLOT: 1}, scheduling_strategy="SPREAD", **_ONCE)(Slot)
        self._link: Any = ray.remote(**_ONCE)(Link)
        self._links: dict[str, Any] = {}
        self._heard: set[str] = set()
        self._opening = asyncio.Lock()
        self._serving: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        await self._listen("slots", self._hold)
        await self._listen("nodes", self._tell_nodes)

    async def _listen(self, name: str, serve: Callable[..., Coroutine[Any, Any, None]]) -> Path:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(serve(reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        path = self._folder / name[:_SHORT]
        async with self._opening:
            if name not in self._heard:
                await asyncio.start_unix_server(accept, path)
                self._heard.add(name)
        return path

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = asyncio.create_task(self._until_lost(writer))
        await asyncio.wait([held, asyncio.create_task(reader.read())], return_when=asyncio.FIRST_COMPLETED)
        held.cancel()

    async def _until_lost(self, writer: asyncio.StreamWriter) -> None:
        slot = self._slot.remote()
        try:
            while (node := await self._given(slot)) is None:
                slot = self._slot.remote()
            await self._tell(writer, {node: (await asyncio.to_thread(_nodes))[node]})
            await slot.held.remote()
        except (RayError, LookupError) as error:
            _say(writer, {"error": _cause(error)})
        finally:
            ray.kill(slot)
            writer.close()

    async def _given(self, slot: Any) -> str | None:
        """The node of a slot, None where Ray chose one that had just gone. Raises LookupError where there is none."""
        begun = asyncio.ensure_future(slot.begin.remote())
        while not (await asyncio.wait([begun], timeout=_LOOK_EVERY))[0]:
            await asyncio.to_thread(_nodes)
        try:
            return str(begun.result())
        except RayActorError:
            return None

    async def _tell_nodes(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._tell(writer, await asyncio.to_thread(_nodes))
        except (RayError, LookupError) as error:
            _say(writer, {"error": _cause(error)})
        writer.close()

    async def _tell(self, writer: asyncio.StreamWriter, nodes: Mapping[str, str]) -> None:
        engines = {node: await self._listen(node, partial(self._carry, node)) for node in nodes}
        _say(writer, {f"unix://{engines[node]}": name for node, name in nodes.items()})

    async def _carry(self, node: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection to the engine, in both directions until the engine ends it."""
        number = next(self._numbers)
        if node not in self._links:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            self._links[node] = self._link.options(scheduling_strategy=there).remote()
        link = self._links[node]
        try:
            await link.connect.remote(number)
            sending = asyncio.create_task(_send(link, number, reader))
            try:
                while data := await link.receive.remote(number):
                    writer.write(data)
                    await writer.drain()
            finally:
                sending.cancel()
                link.close.remote(number)
        except (RayTaskError, OSError):
            pass  # one of the ends broke off
        except RayError:
            if self._links.get(node) is link:
                del self._links[node]
        finally:
            writer.close()


async def _send(link: Any, number: int, reader: asyncio.StreamReader) -> None:
    with suppress(RayError, OSError):
        while data := await reader.read(_PIECE):
            await link.send.remote(number, data)
        await link.send.remote(number, b"")


def _nodes() -> dict[str, str]:
    """The names of the nodes that have slots, by id. Raises LookupError where there is none."""
    alive = (node for node in ray.nodes() if node["Alive"] and SLOT in node["Resources"])
    found = {node["NodeID"]: node["NodeName"] for node in alive}
    if not found:
        raise LookupError(_NO_SLOT)
    return found


def _say(file: asyncio.StreamWriter | BinaryIO, said: Mapping[str, str]) -> None:
    file.write(json.dumps(said).encode() + b"\n")


def _cause(error: BaseException) -> str:
    return " ".join(str(getattr(error, "cause", None) or error).split())[:_MOST_SAID]


def connect(where: str) -> None:
    """Raises ValueError, what Ray raises, OSError, and LookupError."""
    host, _, port = where.rpartition(":")
    if "://" in where:
        raise ValueError("not this machine but a client would be in the cluster; name the head itself, HOST:6379")
    if host:  # Ray itself would try for minutes
        socket.create_connection((host, int(port)), _HELLO_SECONDS).close()
    ray.cloudpickle.register_pickle_by_value(sys.modules[find_engine.__module__])
    ray.init(where, namespace="dockwright", log_to_driver=False, logging_level="ERROR", configure_logging=False)
    _nodes()


async def serve(folder: Path) -> None:
    """Until stdin ends, which it does with the batch, however that ends."""
    relay = Relay(folder)
    await relay.listen()
    _say(sys.stdout.buffer, {})
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


def main(folder: Path, where: str) -> None:
    try:
        connect(where)
        asyncio.run(serve(folder))
    except Exception as error:  # noqa: BLE001 - the batch, which is another process, says it
        _say(sys.stdout.buffer, {"error": _cause(error)})
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
