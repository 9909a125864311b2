"""Migrations that are plain SQL files, applied by us: `NAME.up.sql` and `NAME.down.sql`, or one file with the marks of
dbmate (`-- migrate:down`) or goose (`-- +goose Down`) before its second part.
"""

from __future__ import annotations

import re

from dockwright.proof.migrations.database import DatabaseError
from dockwright.proof.migrations.tools import At, Step

_MARK = re.compile(r"^--\s*(?:migrate:|\+goose\s+)(up|down)\b.*$", re.IGNORECASE | re.MULTILINE)


class PlainSql:
    async def up(self, at: At) -> Step:
        for name, up, _ in await self._files(at):
            try:
                await at.database.execute(up)
            except DatabaseError as error:
                return Step(str(error), True, name)
        return Step("up", False)

    async def down(self, at: At) -> Step | None:
        files = await self._files(at)
        if missing := [name for name, _, down in files if down is None]:
            return Step(f"There is no way down for {', '.join(missing)}.", True, missing[-1])
        for name, _, down in reversed(files):
            try:
                await at.database.execute(down or "")
            except DatabaseError as error:
                return Step(str(error), True, name)
        return Step("down", False)

    async def _files(self, at: At) -> list[tuple[str, str, str | None]]:
        """Name, way up and way down of each migration, in order."""
        listed = (await at.run("ls -1 *.sql")).text.split("\n")
        names = sorted(name for name in listed if name.endswith(".sql") and not name.endswith(".down.sql"))
        texts = {name: await at.read(name) for name in names}
        files = []
        for name in names:
            if name.endswith(".up.sql"):
                below = name.removesuffix(".up.sql") + ".down.sql"
                files.append((name, texts[name], await at.read(below) if below in listed else None))
            else:
                parts = _MARK.split(texts[name])
                marked = dict(zip((word.lower() for word in parts[1::2]), parts[2::2], strict=True))
                files.append((name, marked.get("up", texts[name]), marked.get("down")))
        return files
