"""Migrations proven: up, all the way down, and up again; on an empty database, on one with rows, and on one with rows
that still has the schema of the base commit. The schema must come out the same, and what changed of it is told.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import unified_diff

from dockwright.events import CheckFinished
from dockwright.proof.demands import Demands
from dockwright.proof.migrations.database import FOLDER, Database, DatabaseError, Sqlite, elsewhere, open_database
from dockwright.proof.migrations.plain_sql import PlainSql
from dockwright.proof.migrations.seeding import ROWS, in_order, rows
from dockwright.proof.migrations.tools import ALEMBIC, KNEX, At, Django, MigrationTool, Prisma, Step, find
from dockwright.sandbox import RUNTIME, WORKSPACE, Sandbox
from dockwright.ui.words import count, duration

_TOOLS: Mapping[str, MigrationTool] = {
    "alembic": ALEMBIC, "django": Django(), "knex": KNEX, "prisma": Prisma(), "sql": PlainSql(),
}  # fmt: skip
_BASE = f"{FOLDER}/base"
_LONGEST_DIFF = 20_000
_LONGEST_STEP = 4000


class _Failed(Exception):
    """The check is over; the text says what failed, in a few words."""


@dataclass
class _Log:
    """What one check did, a line for each step, and how the schema changed."""

    lines: list[str] = field(default_factory=list)
    diff: str = ""

    def step(self, name: str, step: Step, began: float) -> None:
        ended = "failed" if step.failed else "ok"
        self.lines.append(f"{name}: {ended}, {duration(time.monotonic() - began)}")
        if step.failed:
            self.lines.append(step.text[-_LONGEST_STEP:])
            raise _Failed(f"{name}" + (f" of {step.revision}" if step.revision else ""))


async def check_migrations(sandbox: Sandbox, demands: Demands) -> AsyncIterator[CheckFinished]:
    """One check for each kind of database; a failed one ends with exit code 1 and has the broken step in `facts`."""
    tool, _, folder = (demands.migrations or "").partition(":")
    here = await find(sandbox, tool, folder, WORKSPACE)
    await _lay_out_base(sandbox)
    before = await find(sandbox, tool, folder, _BASE)
    if before and (
        (await sandbox.exec(["test", "-d", before])).exit_code != 0 or await _begin_with(sandbox, tool, folder)
    ):
        before = None
    if here and before:
        await _lend_packages(sandbox, {WORKSPACE: _BASE, here: before})
    own: Database | None = None  # where the project goes by a file of its own and not by DATABASE_URL
    for name in ("empty", "seeded", *(["base"] if before else [])):
        log, began, failed = _Log(), time.monotonic(), ""
        database = own or open_database(sandbox, name)
        try:
            if here is None:
                raise _Failed(f"the patch has no {tool} migrations")
            new = At(sandbox, here, database, demands.seconds)
            old = At(sandbox, before, database, demands.seconds) if before else None
            if own and name == "base":
                log.lines.append("not checked, as the project does not go by DATABASE_URL")
            elif (used := await _check(_TOOLS[tool], name, new, old, demands.seed, log)) is not database:
                own = used
        except (_Failed, DatabaseError, OSError) as error:
            failed = str(error)
        about = {
            "empty": "an empty database",
            "seeded": "a database with rows",
            "base": "a database of the base commit",
        }
        facts = {"failed": failed} if failed else {}
        yield CheckFinished(
            kind="migrations",
            command=f"{tool} migrations up, down and up on {about[name]}",
            exit_code=1 if failed else 0,
            output="\n".join([*log.lines, *([f"failed: {failed}"] if failed else [])]) + "\n",
            seconds=round(time.monotonic() - began, 3),
            facts={**facts, **({"schema_diff": log.diff} if log.diff else {})},
        )


async def _begin_with(sandbox: Sandbox, tool: str, folder: str) -> bool:
    """Whether the patch brings the tool into a folder that was named and that the base commit has without it."""
    if not folder or await find(sandbox, tool, "", f"{_BASE}/{folder}"):
        return False
    return await find(sandbox, tool, "", f"{WORKSPACE}/{folder}") is not None


async def _check(tool: MigrationTool, kind: str, new: At, old: At | None, seed: str | None, log: _Log) -> Database:
    """Raises _Failed. Returns the database that the project went by."""
    database = new.database
    schema_before = ""
    await database.empty()
    if old is not None and kind in ("empty", "base"):
        schema_before = await _schema_of_base(tool, old, log, needed=kind == "base")
        if kind == "base":
            await _seed(new, seed, log)
        else:
            await database.empty()
    began = time.monotonic()
    log.step("upgrade", await tool.up(new), began)
    first = await database.schema()
    if not first and isinstance(database, Sqlite) and (own := await elsewhere(new.sandbox, new.folder, database.url)):
        log.lines.append(f"the project goes by {own.path}, not by DATABASE_URL")
        new, database, first = replace(new, database=own), own, await own.schema()
    if not first:
        raise _Failed("the upgrade made no table in the database of DATABASE_URL; does the project go by it?")
    if kind == "empty":
        log.diff = _diff(schema_before, first)
    if kind == "seeded":
        await _seed(new, seed, log)
    began = time.monotonic()
    down = await tool.down(new)
    if down is None:
        log.lines.append("downgrade: this tool has no way down here, so only the upgrade was checked")
        return database
    log.step("downgrade", down, began)
    if left := await database.schema():
        log.lines.append(f"left behind by the downgrade: {left[:500]}")
    began = time.monotonic()
    log.step("upgrade again", await tool.up(new), began)
    if (second := await database.schema()) != first:
        log.lines.append(_diff(first, second))
        raise _Failed("the schema after up, down and up is not the one after the first up")
    log.lines.append("the schema is the same as after the first upgrade")
    return database


async def _schema_of_base(tool: MigrationTool, old: At, log: _Log, *, needed: bool) -> str:
    """The schema of the base commit, which is in the database then. Where its own migrations fail, that is told."""
    began = time.monotonic()
    step = await tool.up(old)
    if step.failed:
        log.lines.append(f"upgrade of the base commit: failed\n{step.text[-_LONGEST_STEP:]}")
        if needed:
            raise _Failed("the migrations of the base commit cannot be applied, so there is no database of it")
        return ""
    log.lines.append(f"upgrade of the base commit: ok, {duration(time.monotonic() - began)}")
    schema = await old.database.schema()
    if not schema and (own := await elsewhere(old.sandbox, old.folder, old.database.url)):
        return await own.schema()
    return schema


async def _seed(at: At, seed: str | None, log: _Log) -> None:
    began = time.monotonic()
    if seed:
        log.step("seed", await at.run(seed), began)
        return
    made = 0
    refused = []
    for table in in_order(await at.database.tables()):
        for number in range(1, ROWS + 1):
            if why := await _insert(at.database, rows(table, number)):
                refused.append(f"{table.name}: {why}")
                break
            made += 1
    log.lines.append(f"{count(made, 'row')} made")
    log.lines += [f"no row could be made for {why}; --seed CMD can" for why in refused]


async def _insert(database: Database, statements: list[str]) -> str:
    """Why no statement was taken; empty where one was."""
    why = ""
    for statement in statements:
        try:
            await database.execute(statement + ";")
        except DatabaseError as error:
            why = why or str(error)
        else:
            return ""
    return why


async def _lay_out_base(sandbox: Sandbox) -> None:
    """The files of the base commit, which is the parent of what is proven, beside the workspace."""
    git = f"{sandbox.runtime}/bin/git"
    env = {"GIT_DIR": f"{WORKSPACE}/.git", "GIT_INDEX_FILE": f"{FOLDER}/base.index"}
    if sandbox.runtime == RUNTIME:
        env["GIT_EXEC_PATH"] = f"{RUNTIME}/libexec/git-core"
    await sandbox.exec(["mkdir", "-p", _BASE])
    await sandbox.exec([git, "read-tree", "HEAD~1"], env=env)
    await sandbox.exec([git, "checkout-index", "--all", f"--prefix={_BASE}/"], env=env, timeout=300)


async def _lend_packages(sandbox: Sandbox, folders: Mapping[str, str]) -> None:
    """What was installed for the patch serves the base commit, too: nothing else is there without a network."""
    lend = 'for name in node_modules .venv; do [ ! -d "$1/$name" ] || ln -sn "$1/$name" "$2/$name"; done'
    for folder, of_base in folders.items():
        await sandbox.exec([sandbox.shell, "-c", lend, "lend", folder, of_base])


def _diff(old: str, new: str) -> str:
    lines = unified_diff(old.splitlines(), new.splitlines(), "schema before", "schema after", lineterm="", n=1)
    return "\n".join(lines)[:_LONGEST_DIFF]
