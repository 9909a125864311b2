"""How each migration tool goes up, goes all the way down, and tells which revision is the broken one.

A tool is run in the folder where its own file lies, with DATABASE_URL set, and with the programs of the project's
`.venv` and `node_modules` before those of the image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dockwright.proof.commands import output, run
from dockwright.proof.migrations.database import Database, DatabaseError
from dockwright.sandbox import WORKSPACE, Sandbox

_MOST_STEPS = 500
_MOST_BYTES = 4 << 20  # of a file of SQL
_MARKS = {"alembic": "alembic.ini", "django": "manage.py", "knex": "knexfile.*", "prisma": "schema.prisma"}


@dataclass(frozen=True)
class Step:
    """`revision` is the broken one, where the step failed and it is known."""

    text: str
    failed: bool
    revision: str = ""


@dataclass(frozen=True)
class At:
    """A folder of the sandbox with the project in it, and a database."""

    sandbox: Sandbox
    folder: str
    database: Database
    seconds: float

    async def run(self, command: str) -> Step:
        programs = (".venv/bin", "node_modules/.bin")
        own = [f"{folder}/{name}" for folder in (self.folder, WORKSPACE) for name in programs]
        env: Mapping[str, str] = {
            "DATABASE_URL": self.database.url,
            "PATH": ":".join([*own, self.sandbox.env["PATH"]]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_COLOR": "1",
        }
        result = await run(self.sandbox, command, self.seconds, env=env, cwd=self.folder)
        ended = "" if result.exit_code is not None else f"\nstopped after {self.seconds:g} s"
        said = re.sub(r"^    at .*\n?", "", output(result), flags=re.MULTILINE)  # where in Node it was thrown
        return Step(said.strip() + ended, result.exit_code != 0)

    async def read(self, name: str) -> str:
        return (await self.sandbox.read(f"{self.folder}/{name}", limit=_MOST_BYTES)).decode("utf-8", "replace")


class MigrationTool(Protocol):
    async def up(self, at: At) -> Step: ...

    async def down(self, at: At) -> Step | None:
        """None where this project has no way down."""


async def find(sandbox: Sandbox, tool: str, folder: str, root: str) -> str | None:
    """The folder below `root` where a tool's own file lies; the shallowest where there are several."""
    if folder:
        return f"{root}/{folder}"
    match = "-type d -name 'migration*'" if tool == "sql" else f"-type f -name '{_MARKS[tool]}'"
    skip = r"\( -name node_modules -o -name .venv -o -name .git \) -prune -o"
    command = f'find . {skip} {match} -print | awk \'{{ print gsub("/", "/"), $0 }}\' | sort -n | head -n 1'
    result = await run(sandbox, command, 60, cwd=root)
    found = output(result).strip().partition(" ")[2].removeprefix("./")
    if not found:
        return None
    parent = found if tool == "sql" else found.rpartition("/")[0]
    if tool == "prisma" and parent.rpartition("/")[2] == "prisma":
        parent = parent.rpartition("/")[0]
    return f"{root}/{parent}".rstrip("/")


@dataclass(frozen=True)
class Stepping:
    """A tool whose commands go all the way, or one step. `current` finds the newest applied revision in what
    `show` prints, `named` the broken one in what a failed step prints."""

    all_up: str
    all_down: str
    one_up: str
    one_down: str
    show: str
    current: str
    named: str
    history: str = ""  # lists `BEFORE -> AFTER`, where what a failed step prints may not name it

    async def up(self, at: At) -> Step:
        step = await at.run(self.all_up)
        return await self._broken(at, step, self.one_up) if step.failed else step

    async def down(self, at: At) -> Step:
        step = await at.run(self.all_down)
        return await self._broken(at, step, self.one_down) if step.failed else step

    async def _broken(self, at: At, whole: Step, one: str) -> Step:
        """Named by what the whole run printed, else found step by step: that may have been rolled back as one."""
        if said := re.findall(self.named, whole.text):
            return Step(whole.text, True, said[-1])
        step = whole
        for _ in range(_MOST_STEPS):
            before = await self._at(at)
            step = await at.run(one)
            if step.failed or await self._at(at) == before:
                break
        said = re.findall(self.named, step.text if step.failed else "")
        here = await self._at(at)
        going_up = one == self.one_up
        if going_up and not said and self.history:
            listed = (await at.run(self.history)).text
            said = re.findall(rf"^{re.escape(here or '<base>')}(?: \(\w+\))* -> (\w+)", listed, re.MULTILINE)[:1]
        revision = said[-1] if said else f"the one after {here or 'none'}" if going_up else here
        return Step(step.text if step.failed else whole.text, True, revision)

    async def _at(self, at: At) -> str:
        found = re.search(self.current, (await at.run(self.show)).text, re.MULTILINE)
        return found[1] if found else ""


ALEMBIC = Stepping(
    all_up="alembic upgrade heads",
    all_down="alembic downgrade base",
    one_up="alembic upgrade +1",
    one_down="alembic downgrade -1",
    show="alembic current",
    current=r"^(\w{3,})(?: \(\w+\))*$",
    named=r"Running upgrade .*?-> (\w+)",
    history="alembic history",
)
KNEX = Stepping(
    all_up="knex migrate:latest",
    all_down="knex migrate:rollback --all",
    one_up="knex migrate:up",
    one_down="knex migrate:down",
    show="knex migrate:currentVersion",
    current=r"Current Version: (?!none)(\S+)",
    named=r'migration file "([^"]+)" failed',
)


class Django:
    """Only the apps whose migrations are in the repository go down; those of packages stay."""

    _manage = "python3 manage.py"

    async def up(self, at: At) -> Step:
        step = await at.run(f"{self._manage} migrate --noinput")
        if not step.failed:
            return step
        found = re.findall(r"Applying (\S+?)\.\.\.", step.text)
        return Step(step.text, True, found[-1] if found else "")

    async def down(self, at: At) -> Step:
        own = (
            await at.run("for d in $(find . -type d -name migrations); do basename $(dirname $d); done")
        ).text.split()
        plan = await at.run(f"{self._manage} showmigrations --plan")
        applied = re.findall(r"^\[X\]\s+(\w+)\.(\w+)", plan.text, re.MULTILINE)
        texts = [plan.text] if plan.failed else []
        before: dict[tuple[str, str], str] = {}
        for app, name in applied:
            before[app, name] = next((n for a, n in reversed(list(before)) if a == app), "zero")
        for (app, name), target in reversed(before.items()):
            if app in own:
                step = await at.run(f"{self._manage} migrate --noinput {app} {target}")
                if step.failed:
                    return Step(step.text, True, f"{app}.{name}")
        return Step("\n".join(texts) or "down", plan.failed)


class Prisma:
    """Prisma itself has no way down; a `down.sql` beside each migration.sql is one, and is run by us."""

    async def up(self, at: At) -> Step:
        step = await at.run("prisma migrate deploy")
        found = re.findall(r"(?:Migration name: |migration_name=\")([^\s\"]+)", step.text)
        return Step(step.text, step.failed, found[-1] if found else "") if step.failed else step

    async def down(self, at: At) -> Step | None:
        listed = await at.run("find . -path ./node_modules -prune -o -name migration.sql -print | sort -r")
        folders = [path.rpartition("/")[0] for path in listed.text.split()]
        if not folders or any([(await at.run(f"test -f '{folder}/down.sql'")).failed for folder in folders]):
            return None
        for folder in folders:
            name = folder.rpartition("/")[2]
            forget = f";\nDELETE FROM _prisma_migrations WHERE migration_name = '{name}'"
            try:
                await at.database.execute(await at.read(f"{folder}/down.sql") + forget)
            except DatabaseError as error:
                return Step(str(error), True, name)
        return Step("down", False)
