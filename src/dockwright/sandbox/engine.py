"""A Docker engine's API, for whoever launches something in it: called in threads, each call with a deadline, its errors
as ours."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox.address import engine_environment

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.images import Image
    from docker.types import Mount

LABEL = "dockwright.run"
OWNER = "dockwright.owner"
HELLO_SECONDS, QUICK_SECONDS, API_SECONDS = 5, 10, 40
_T = TypeVar("_T")
_versions: dict[str, str] = {}  # of the API, by address: an engine that is asked for it starts programs to answer


def connect(seconds: int = API_SECONDS, address: str | None = None) -> DockerClient:
    """The engine at an address, else that which the docker command line would use, each call to it with `seconds` until
    it has answered. Raises SandboxError where none answers to the first."""
    import docker
    from docker.errors import DockerException

    environment = engine_environment(address)
    url = environment["DOCKER_HOST"]
    try:
        client = docker.from_env(
            version=_versions.get(url), timeout=min(seconds, HELLO_SECONDS), environment=environment
        )
        client.api.trust_env = not url.startswith("unix:")  # else each call looks for proxies and a .netrc
        client.ping()
        client.api.timeout = seconds
    except (DockerException, OSError) as error:
        _versions.pop(url, None)  # it may be another engine by now
        raise SandboxError(
            f"No Docker engine answered at {address}: {_cause(error)}. Start it, or do without it."
            if address
            else f"No Docker engine answered: {_cause(error)}. Start one (systemctl start docker), point DOCKER_HOST "
            "at one, or choose --sandbox bubblewrap."
        ) from error
    _versions[url] = client.api.api_version
    return client


def find_image(client: DockerClient, name: str) -> Image:
    from docker.errors import ImageNotFound

    try:
        return client.images.get(name)
    except ImageNotFound as error:
        remedy = (
            "Build it with: dockwright image"
            if name.startswith("dockwright/")
            else f"Pull or build it first: docker pull {name}"
        )
        raise ConfigError(f"The engine has no image {name}. {remedy}") from error


def hosts_of(container: Container) -> list[Mount]:
    """The /etc/hosts of a container whose network is its own business, for what joins that network."""
    from docker.types import Mount

    bound = [mount for mount in container.attrs["Mounts"] if mount["Type"] == "bind"]
    return [Mount(each["Destination"], each["Source"], type="bind", read_only=True) for each in bound]


def reap(runs: Collection[str], address: str | None = None) -> None:
    """Remove whatever the engine still has of these runs, whoever made it."""
    client = connect(address=address)
    try:
        mine: dict[str, str | list[str] | bool] = {"label": LABEL}
        for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
            if _run_of(container.labels) in runs:
                persist(partial(container.remove, force=True, v=True))
        for volume in client.volumes.list(filters=mine):
            if _run_of(volume.attrs.get("Labels") or {}) in runs:
                persist(partial(volume.remove, force=True))
    finally:
        client.close()


def _run_of(labels: Mapping[str, str]) -> str:
    return labels.get(LABEL, "").removesuffix("-proof")


def persist(remove: Callable[[], object]) -> None:
    """Remove until it is gone, as long as the engine says that it is busy."""
    from docker.errors import APIError, NotFound

    until = time.monotonic() + API_SECONDS
    while True:
        try:
            remove()
            return
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409 or time.monotonic() > until:
                raise
        time.sleep(0.1)


def _cause(error: BaseException) -> str:
    """What the system said, which the SDK wraps several times."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            return at.strerror
        at = at.__cause__ or at.__context__
    return str(error.__cause__ or error).strip().rstrip(".")


async def in_thread(work: Callable[[], _T], seconds: float = API_SECONDS) -> _T:
    """Engine calls: in a thread, with a deadline, their errors as ours. An engine that is wedged holds nobody up, not
    even the end of the process: the thread is left behind."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def tell(ended: Future[_T]) -> None:
        if done.done():
            return
        if error := ended.exception():
            done.set_exception(error)
        else:
            done.set_result(ended.result())

    def run() -> None:
        ended: Future[_T] = Future()
        try:
            ended.set_result(work())
        except BaseException as error:  # noqa: BLE001 - for whoever waits
            ended.set_exception(error)
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(tell, ended)

    threading.Thread(target=run, name="engine", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await done
    except APIError as error:
        raise SandboxError(f"The Docker engine refused: {error.explanation or error}") from error
    except TimeoutError as error:
        raise SandboxError(f"The Docker engine gave no answer within {seconds:g} s. Is it wedged?") from error
    except (DockerException, RequestException, OSError) as error:
        raise SandboxError(f"The Docker engine failed or went away: {_cause(error)}. Is it running?") from error
