"""One message of the user's in a chat."""

from __future__ import annotations

from dataclasses import dataclass

from dockwright.errors import DockwrightError
from dockwright.run.moments import Moment


@dataclass(frozen=True)
class Line:
    """A message with what was before and after the agent worked on it, and why it failed if it did."""

    text: str
    before: Moment
    after: Moment
    failure: DockwrightError | None = None
