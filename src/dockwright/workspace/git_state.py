"""Runs inside the sandbox: what makes the agent's own repository what it is, into an archive and back.

Sent there as source; standard library only. Objects never change, so each archive holds only those that are new since
the one before; everything else of .git (HEAD, refs, index, config, logs) is in each of them whole. What is rarely
needed is imported late, because a look at whether anything changed comes after every call.
"""

from __future__ import annotations

import os
import sys
import zlib

WORKSPACE, GIT, OBJECTS = "/workspace", ".git", ".git/objects"
OBJECTS_GONE = 3  # exit code: objects that were there from the beginning have to be sent again


def let_in(folder: str) -> None:
    """Give the owner of folders, us, every right on them, so that what is in them can be put back."""
    os.chmod(folder, os.lstat(folder).st_mode | 0o700)
    with os.scandir(folder) as entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for path in below:
        let_in(path)


def objects() -> list[str]:
    return [f"{folder}/{name}" for folder, _, names in os.walk(OBJECTS) for name in names]


def mark() -> str:
    """What changes when anything but objects does: they alone, without a name, are nothing that one would miss."""
    facts: list[tuple[object, ...]] = []
    queue = [GIT]
    while queue:
        path = queue.pop()
        try:
            found = os.lstat(path)
            if not os.path.isdir(path) or os.path.islink(path):
                when = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
                facts.append((path, found.st_mode, *when))
                continue
            facts.append((path, found.st_mode))
            if path != OBJECTS:
                queue += sorted(f"{path}/{name}" for name in os.listdir(path))
        except OSError as error:
            facts.append((path, error.errno))
    return str(zlib.crc32(repr(facts).encode("utf-8", "surrogateescape")))


def save(archive: str, most: int) -> None:
    """Names of objects that are kept already in, those that are kept now out, a line each; on stdin and stdout."""
    import tarfile

    known = set(os.fsdecode(sys.stdin.buffer.read()).splitlines())
    fresh = [name for name in objects() if name not in known]
    if sum(os.lstat(name).st_size for name in fresh) > most:
        sys.exit(f"what is new in {GIT} is larger than {most >> 20} MiB")
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        if os.path.lexists(GIT):
            tar.add(GIT, filter=lambda member: None if member.name.startswith(f"{OBJECTS}/") else member)
        for name in fresh:
            tar.add(name)
    if os.path.getsize(archive) > 2 * most:
        sys.exit(f"{GIT} without its objects is larger than {most >> 20} MiB")
    sys.stdout.buffer.write(os.fsencode("".join(f"{name}\n" for name in fresh)))


def restore(given: bytes) -> None:
    """`given` is what was there at first, then the archives in their order, each after its length in eight bytes."""
    import io
    import tarfile

    parts = []
    while given:
        size = int.from_bytes(given[:8], "big")
        parts.append(given[8 : 8 + size])
        given = given[8 + size :]
    first, *earlier, last = parts
    with tarfile.open(fileobj=io.BytesIO(last)) as tar:
        whole = any(member.name == GIT and member.isdir() for member in tar)
    if os.path.islink(GIT) or not os.path.isdir(GIT):
        remove(GIT)
    if whole and not all(os.path.lexists(name) for name in os.fsdecode(first).splitlines()):
        sys.exit(OBJECTS_GONE)
    for name in os.listdir(GIT) if os.path.isdir(GIT) else ():
        if not whole or name != os.path.basename(OBJECTS):
            remove(f"{GIT}/{name}")
    for archive in (*earlier, last) if whole else ():
        put_back(archive, objects_only=True)
    if not whole:
        remove(GIT)
    put_back(last, objects_only=False)


def put_back(archive: bytes, objects_only: bool) -> None:
    import io
    import tarfile

    if hasattr(tarfile, "fully_trusted_filter"):  # our own archives; newer versions want to be told
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.fully_trusted_filter)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            of_objects = member.name.startswith(f"{OBJECTS}/")
            if of_objects != objects_only or (of_objects and os.path.lexists(member.name)):
                continue
            tar.extract(member)


def remove(path: str) -> None:
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


if __name__ == "__main__":
    os.chdir("/")
    match sys.argv[1:]:
        case ["begin"]:
            os.chdir(WORKSPACE)
            sys.stdout.buffer.write(os.fsencode("\n".join([mark(), *objects(), ""])))
        case ["save", archive, most, before]:
            os.chdir(WORKSPACE)
            now = mark()
            sys.stdout.write(f"{now}\n")
            sys.stdout.flush()
            if now != before:
                save(archive, int(most))
        case ["clear"]:
            let_in(WORKSPACE)
            remove(f"{WORKSPACE}/{GIT}")
        case ["restore"]:
            let_in(WORKSPACE)
            os.chdir(WORKSPACE)
            restore(sys.stdin.buffer.read())
            sys.stdout.write(mark())
