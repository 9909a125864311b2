"""The agent's own commits, for a branch of many: only their trees and messages leave the sandbox.

Author, dates, signatures and merges are dropped, because each commit is made anew in the quarantine, one on the other.
Each tree is looked at as the last one is; one that may not come out makes it a delivery of one commit.
"""

from __future__ import annotations

from tempfile import TemporaryFile

from dockwright.redaction import Redaction
from dockwright.sandbox import Sandbox
from dockwright.workspace import inside
from dockwright.workspace.hardened import GitError
from dockwright.workspace.included import included
from dockwright.workspace.names import text
from dockwright.workspace.objects import blobs, sizes
from dockwright.workspace.space import Workspace, refusal_of
from dockwright.workspace.withheld import held

_REF = "refs/dockwright/own"
_MOST = 100
_LONGEST = 1 << 16  # bytes of a commit with its message


async def take_own_commits(workspace: Workspace, sandbox: Sandbox) -> None:
    """Take in what the agent committed on top of the base. Raises GitError where its repository is not fit for it."""
    quarantine = workspace.quarantine
    await quarantine.git("update-ref", "-d", _REF)
    try:
        head, pack = await inside.pack_commits(sandbox, workspace.base)
        if pack:
            with TemporaryFile(dir=workspace.state) as file:
                await inside.read_pack(sandbox, pack, file)
                await quarantine.take_in(file)
            await quarantine.git("update-ref", _REF, head)
    except OSError as error:
        raise GitError(str(error)) from error


async def own_commits(workspace: Workspace, redaction: Redaction) -> list[tuple[str, str]]:
    """Tree and message of each, oldest first. Raises GitError where one of them may not come out."""
    quarantine = workspace.quarantine
    (tip,) = await quarantine.ids(_REF)
    if not tip:  # it made none
        return []
    span = ("--first-parent", "--reverse", f"--max-count={_MOST + 1}", tip, f"^{workspace.base}")
    oids = (await quarantine.git("rev-list", *span)).decode().split()
    sized = await sizes(quarantine, oids)
    if len(oids) > _MOST or max(sized.values(), default=0) > _LONGEST:
        raise GitError(f"there are more than {_MOST}, or one has a very long message")
    raw = {oid: data async for oid, data in blobs(quarantine, sized)}
    kept_in = await included(quarantine)
    found: list[tuple[str, str]] = []
    before, its_tree = workspace.base, await quarantine.id(f"{workspace.base}^{{tree}}")
    for oid in oids:
        head, _, message = raw[oid].partition(b"\n\n")
        tree, parent = [line.rpartition(b" ")[2].decode("ascii", "replace") for line in head.split(b"\n")[:2]]
        if parent != before:
            raise GitError("they do not begin at the commit that it was given")
        changes = await quarantine.changes(its_tree, tree)
        for change in changes:
            if why := refusal_of(change) or ("an ignored file that was taken in" if change.path in kept_in else ""):
                raise GitError(f"one has {text(change.path)}: {why}")
        for change, names in (await held(quarantine, changes, redaction)).items():
            raise GitError(f"one has {text(change.path)}, which holds the secret {', '.join(sorted(names))}")
        found.append((tree, redaction.text(message.decode("utf-8", "replace"))))
        before, its_tree = oid, tree
    return found
