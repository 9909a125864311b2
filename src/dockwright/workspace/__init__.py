"""The user's repository, in and out: a snapshot, a copy in a sandbox, checkpoints, one new branch and a patch.

The host never opens a path that the agent can name and never runs git in a repository that the agent can write.
"""

from dockwright.workspace.apply import apply
from dockwright.workspace.snapshot import snapshot
from dockwright.workspace.space import LOST, Checkpoint, Workspace
from dockwright.workspace.withheld import shown_in_patch, withhold

__all__ = ["LOST", "Checkpoint", "Workspace", "apply", "shown_in_patch", "snapshot", "withhold"]
