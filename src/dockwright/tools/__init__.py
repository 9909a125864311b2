"""The tools by name. Adding one is its own file, one line here, and its test."""

from __future__ import annotations

from dockwright.tools.base import Tool
from dockwright.tools.bash import Bash, BashOutput, KillShell
from dockwright.tools.edit import Edit, MultiEdit
from dockwright.tools.glob import Glob
from dockwright.tools.grep import Grep
from dockwright.tools.read import Read
from dockwright.tools.web_search import WebSearch
from dockwright.tools.write import Write

TOOLS: dict[str, type[Tool]] = {
    "Read": Read,
    "Write": Write,
    "Edit": Edit,
    "MultiEdit": MultiEdit,
    "Bash": Bash,
    "BashOutput": BashOutput,
    "KillShell": KillShell,
    "Grep": Grep,
    "Glob": Glob,
    "WebSearch": WebSearch,
}

COMPANIONS = {"Bash": ("BashOutput", "KillShell")}
"""Tools that come with another one, whether a persona lists them or not."""
