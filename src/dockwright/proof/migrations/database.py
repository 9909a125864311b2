"""The databases of the proof, emptied, dumped, asked and filled from inside the sandbox: SQLite by the runner's own
Python, PostgreSQL by the psql and pg_dump of the image. What is dumped leaves out what migration tools keep for
themselves.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from pydantic import TypeAdapter, ValidationError

from dockwright.proof.migrations.seeding import Table
from dockwright.sandbox import ExecResult, Sandbox

FOLDER = "/tmp/dockwright-proof"  # noqa: S108 - inside the sandbox
BOOKKEEPING = (
    "alembic_version", "django_migrations", "knex_migrations", "knex_migrations_lock", "_prisma_migrations",
    "schema_migrations", "goose_db_version",
)  # fmt: skip
_SECONDS = 120.0
_LIMIT = 4 << 20
_TABLES = TypeAdapter(tuple[Table, ...])


class DatabaseError(Exception):
    """The database did not do what it was asked, in its own words."""


class Database(Protocol):
    @property
    def url(self) -> str: ...

    async def empty(self) -> None:
        """Make it anew, with nothing in it."""

    async def execute(self, sql: str) -> None: ...

    async def schema(self) -> str:
        """All that was defined in it, as text that is equal where the schema is."""

    async def tables(self) -> tuple[Table, ...]:
        """The tables that hold no row yet."""


async def elsewhere(sandbox: Sandbox, folder: str, url: str) -> Sqlite | None:
    """The SQLite file that a project made below `folder`, where it does not go by DATABASE_URL."""
    kinds = " -o ".join(f"-name '*.{end}'" for end in ("db", "sqlite", "sqlite3"))
    command = f"find '{folder}' -path '*/node_modules' -prune -o -type f \\( {kinds} \\) -print"
    found = (await sandbox.exec([sandbox.shell, "-c", command], timeout=60)).stdout.decode("utf-8", "replace")
    match found.split("\n"):
        case [path, ""]:
            return Sqlite(sandbox, url, path)
    return None


def open_database(sandbox: Sandbox, name: str) -> Database:
    """A database of its own beside the one that DATABASE_URL names; without one, or where that is SQLite, a file."""
    url = sandbox.env.get("DATABASE_URL", "")
    if url.startswith(("postgres:", "postgresql:", "postgresql+", "postgres+")):
        return Postgres(sandbox, urlunsplit(urlsplit(url)._replace(path=f"/dockwright_{name}")), url)
    scheme = url.partition(":")[0] if url.startswith("sqlite") else "sqlite"
    return Sqlite(sandbox, f"{scheme}:///{FOLDER}/{name}.db", f"{FOLDER}/{name}.db")


# ACTION FILE; SQL on standard input. Answers with JSON.
_SQLITE = r"""
import json, os, re, sqlite3, sys
action, path = sys.argv[1:3]
if action == "empty":
    os.makedirs(os.path.dirname(path), exist_ok=True)
    for end in ("", "-wal", "-shm", "-journal"):
        if os.path.exists(path + end):
            os.remove(path + end)
    sys.exit()
db = sqlite3.connect(path, timeout=20)
if action == "execute":
    db.execute("PRAGMA foreign_keys=ON")
    db.executescript(sys.stdin.read())
    db.commit()
elif action == "schema":
    rows = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name")
    print(json.dumps([row for row in rows if not row[1].startswith("sqlite_")]))
elif action == "tables":
    found = []
    for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"):
        mark = '"%s"' % name.replace('"', '""')
        if db.execute("SELECT 1 FROM %s LIMIT 1" % mark).fetchone():
            continue
        keys = {row[3]: [row[2], row[4] or "rowid"] for row in db.execute("PRAGMA foreign_key_list(%s)" % mark)}
        info = list(db.execute("PRAGMA table_info(%s)" % mark))
        lone = sum(1 for row in info if row[5]) == 1
        columns = []
        for _, column, kind, required, default, key in info:
            own = bool(key) and lone and kind.upper() == "INTEGER"
            said = re.search(r"\b%s\b[\"`\]]?\s+IN\s*\(([^)]*)\)" % re.escape(column), sql or "", re.I)
            columns.append({
                "name": column, "type": kind, "required": bool(required or key) and default is None and not own,
                "generated": own or default is not None, "references": keys.get(column),
                "choices": re.findall(r"'([^']*)'", said[1]) if said else [],
            })
        found.append({"name": name, "columns": columns})
    print(json.dumps(found))
"""


@dataclass(frozen=True)
class Sqlite:
    sandbox: Sandbox
    url: str
    path: str

    async def empty(self) -> None:
        await self._python("empty")

    async def execute(self, sql: str) -> None:
        await self._python("execute", sql)

    async def schema(self) -> str:
        rows = json.loads(await self._python("schema"))
        kept = [sql for _kind, name, sql in rows if name not in BOOKKEEPING]
        return "\n".join(f"{' '.join(sql.split())};".replace("( ", "(").replace(" )", ")") for sql in kept)

    async def tables(self) -> tuple[Table, ...]:
        return _tables(await self._python("tables"))

    async def _python(self, action: str, sql: str = "") -> bytes:
        argv = [f"{self.sandbox.runtime}/bin/python3", "-I", "-S", "-c", _SQLITE, action, self.path]
        return _said(await self.sandbox.exec(argv, stdin=sql.encode(), timeout=_SECONDS, limit=_LIMIT))


_FACTS = """
SELECT coalesce(json_agg(t), '[]') FROM (
  SELECT c.relname AS name, (
    SELECT json_agg(json_build_object(
      'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
      'required', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '',
      'generated', a.atthasdef OR a.attidentity <> '',
      'references', (SELECT json_build_array(k.confrelid::regclass::text, f.attname) FROM pg_constraint k
        JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[array_position(k.conkey, a.attnum)]
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND a.attnum = ANY (k.conkey) LIMIT 1),
      'choices', coalesce(
        (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = a.atttypid),
        (SELECT json_agg(m[1]) FROM pg_constraint k, regexp_matches(pg_get_constraintdef(k.oid), '''([^'']*)''', 'g') m
          WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]
          AND pg_get_constraintdef(k.oid) LIKE '%ARRAY[%'), '[]')
    ) ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      AND a.attgenerated = '') AS columns
  FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relnamespace = current_schema()::regnamespace
) t
"""


@dataclass(frozen=True)
class Postgres:
    """`service` is the URL that the sandbox has; the database is another one on the same server."""

    sandbox: Sandbox
    url: str
    service: str

    async def empty(self) -> None:
        name = urlsplit(self.url).path.lstrip("/")
        await self._psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', self.service)
        await self._psql(f'CREATE DATABASE "{name}"', self.service)

    async def execute(self, sql: str) -> None:
        await self._psql(sql, self.url)

    async def schema(self) -> str:
        left_out = [f"--exclude-table={name}*" for name in BOOKKEEPING]
        plain = ["--schema-only", "--no-owner", "--no-privileges", "--no-comments", *left_out]
        text = (await self._run(["pg_dump", *plain, f"--dbname={_plain(self.url)}"])).decode("utf-8", "replace")
        noise = re.compile(r"--|SET |SELECT pg_catalog|\\(un)?restrict|CREATE SCHEMA public|\s*$")
        return "\n".join(line for line in text.splitlines() if not noise.match(line))

    async def tables(self) -> tuple[Table, ...]:
        tables = _tables(await self._psql(_FACTS, self.url))
        if not tables:
            return ()
        parts = []
        for table in tables:
            word, name = table.name.replace("'", "''"), table.name.replace('"', '""')
            parts.append(f"SELECT '{word}' WHERE NOT EXISTS (SELECT FROM \"{name}\")")  # noqa: S608
        asked = " UNION ALL ".join(parts)
        free = set((await self._psql(asked, self.url)).decode("utf-8", "replace").splitlines())
        return tuple(table for table in tables if table.name in free)

    async def _psql(self, sql: str, url: str) -> bytes:
        plain = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", _plain(url), "-f", "-"]
        return await self._run(plain, sql.encode())

    async def _run(self, argv: list[str], stdin: bytes = b"") -> bytes:
        try:
            return _said(await self.sandbox.exec(argv, stdin=stdin, timeout=_SECONDS, limit=_LIMIT))
        except FileNotFoundError:
            raise DatabaseError(
                f"The image has no {argv[0]}, which this check needs for PostgreSQL. Use an image with it (Debian: "
                "postgresql-client), or the workbench."
            ) from None


def _plain(url: str) -> str:
    """A URL as libpq takes it: no driver of SQLAlchemy's in the scheme."""
    return "postgresql:" + url.partition(":")[2]


def _said(result: ExecResult) -> bytes:
    if result.exit_code != 0:
        words = result.stderr.decode("utf-8", "replace").strip().splitlines()
        errors = [word for word in words if "ERROR:" in word] or words[-1:]
        raise DatabaseError(errors[0].strip() if errors else f"it ended with exit code {result.exit_code}")
    return result.stdout


def _tables(said: bytes) -> tuple[Table, ...]:
    try:
        return tuple(table for table in _TABLES.validate_json(said) if table.name not in BOOKKEEPING)
    except ValidationError as error:
        raise DatabaseError(f"the tables could not be read: {error.errors()[0]['msg']}") from None
