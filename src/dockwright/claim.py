"""What a report says, held against what the harness knows."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Evidence(BaseModel):
    """What the harness itself knows: a tool call of the run (`e3`), a check of the proof (`p1`), a file of the patch.

    `name` is the command or the path, `output` the end of what was printed, `sha256` that of the file's bytes as they
    were handed over. `container` is where it ran."""

    model_config = ConfigDict(frozen=True)
    id: str
    kind: Literal["call", "check", "file"]
    name: str
    failed: bool = False
    exit_code: int | None = None
    at: datetime | None = None
    seconds: float | None = None
    container: str = ""
    output: str = ""
    output_file: str | None = None
    sha256: str | None = None


class Claim(BaseModel):
    """A statement of the report, held against its evidence. `reason` says why it is not proven."""

    model_config = ConfigDict(frozen=True)
    section: str
    field: str
    text: str
    verdict: Literal["proven", "stated", "refuted"]
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
