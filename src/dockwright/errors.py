"""The exception tree and the exit codes. One class per exit code; the message says what was tried,
what happened and what to do next.

    DockwrightError          1    (itself never raised: a plain exception that reaches the top is a bug, 1)
    ├── ConfigError          2    configuration, persona, task file or flag
    ├── LimitReached         5    turns, money or time
    ├── ModelRefused         6
    ├── ModelError           7    the model API failed for good
    │   └── ContextFull      7    the conversation does not fit into the model's window
    └── SandboxError         8    could not be started
        ├── BoundaryError    8    lets something out, or could not be tested; nothing was run in it
        └── SandboxLost      8    was there and is gone; carries what is known of the cause

    ToolError                     told to the model as a failed call; never ends a run
    └── Interrupted               the sandbox goes on, but what the call had begun was ended
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says about a run. 0 is a positive proof, never a default."""

    OK = 0
    BUG = 1
    CONFIG = 2
    CHECKS_FAILED = 3
    UNVERIFIED = 4
    LIMIT = 5
    REFUSED = 6
    MODEL = 7
    SANDBOX = 8
    INTERRUPTED = 130


class DockwrightError(Exception):
    """An error with an exit code of its own."""

    exit_code = ExitCode.BUG


class ConfigError(DockwrightError):
    exit_code = ExitCode.CONFIG


class LimitReached(DockwrightError):
    """A limit on turns, money or time stopped the work. The work done so far is kept."""

    exit_code = ExitCode.LIMIT


class ModelRefused(DockwrightError):
    exit_code = ExitCode.REFUSED


class ModelError(DockwrightError):
    exit_code = ExitCode.MODEL


class ContextFull(ModelError):
    """The conversation does not fit into the model's window. A session summarises it and goes on, where that helps."""


class SandboxError(DockwrightError):
    exit_code = ExitCode.SANDBOX


class BoundaryError(SandboxError):
    """The sandbox was tried out before anything ran in it, and did not hold."""


class SandboxLost(SandboxError):
    """The sandbox or its runner ended under us. Never shown to the model as the output of a command."""


class ToolError(Exception):
    """What the model should read about a call that could not be carried out."""


class Interrupted(ToolError):
    """The runner in the sandbox died during the call and was followed by another one."""
