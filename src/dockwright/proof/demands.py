"""What a proof has to show, as data: commands that pass, an app that answers, migrations that go up and down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from dockwright.errors import ConfigError

MIGRATION_TOOLS = ("alembic", "django", "knex", "prisma", "sql")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_PROBE = re.compile(r"(?P<url>\S+?)(?:=(?P<status>\d{3}))?")


@dataclass(frozen=True)
class Probe:
    """A URL on the sandbox's own loopback and the status that it must answer with; None is any of 200 to 299."""

    url: str
    status: int | None = None

    @classmethod
    def parse(cls, text: str) -> Probe:
        """`URL` or `URL=STATUS`. Raises ConfigError."""
        match = _PROBE.fullmatch(text)
        parts = urlsplit(match["url"] if match else "")
        if match is None or parts.scheme != "http" or parts.hostname not in _LOCAL:
            raise ConfigError(
                f"--probe {text} is no address inside the sandbox. Write it as http://localhost:8000/health, with "
                "=204 behind it where another status than 2xx is right."
            )
        return cls(match["url"], int(match["status"]) if match["status"] else None)

    @property
    def expected(self) -> str:
        return str(self.status) if self.status else "2xx"


@dataclass(frozen=True)
class Demands:
    """`seconds` bounds each command, `serve_seconds` how long the app may take to answer. `migrations` is one of
    MIGRATION_TOOLS, with `:FOLDER` behind it where that is not where everybody has it; `seed` fills the database after
    the first upgrade. `may_change` are patterns of files that checks stand on and that the agent may change all the
    same. `baseline` asks for the checks on the base commit, too."""

    checks: tuple[str, ...] = ()
    serve: str | None = None
    probes: tuple[Probe, ...] = ()
    migrations: str | None = None
    seed: str | None = None
    seconds: float = 600.0
    serve_seconds: float = 60.0
    may_change: tuple[str, ...] = ()
    baseline: bool = False

    def __post_init__(self) -> None:
        if bool(self.serve) != bool(self.probes):
            raise ConfigError("--serve CMD and --probe URL belong together: one starts the app, the other asks it.")
        if self.migrations is not None and self.migrations.partition(":")[0] not in MIGRATION_TOOLS:
            raise ConfigError(
                f"--check-migrations {self.migrations} is not known. There are {', '.join(MIGRATION_TOOLS)}."
            )
        if self.seed and not self.migrations:
            raise ConfigError("--seed CMD fills the database of --check-migrations, which was not asked for.")

    def __bool__(self) -> bool:
        return bool(self.checks or self.serve or self.migrations)

    @property
    def told(self) -> tuple[str, ...]:
        """What the model is told of them, a line each."""
        lines = list(self.checks)
        if self.migrations:
            lines.append(
                f"the migrations ({self.migrations}) on the database that DATABASE_URL names: up, all the way down and "
                "up again, on an empty database and on one with rows; the schema must come out the same"
            )
        if self.serve:
            asked = ", ".join(f"{probe.url} must answer {probe.expected}" for probe in self.probes)
            lines.append(f"{self.serve} is started, then {asked} within {self.serve_seconds:g} s")
        return tuple(lines)
