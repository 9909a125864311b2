"""The program inside the sandbox, and how its source gets there.

The host sends these modules over the stream, so nothing of ours lies in the image and both ends are always of one
version. They use the standard library and each other, nothing else.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

MODULES = ("wire", "guard", "budget", "files", "marks", "process", "calls")

# What `python3 -c` runs: read the modules, make them importable under their own names, go.
BOOT = """
import json, os, sys, types
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data)) or sys.exit(1)
    return data
sources = json.loads(read(int(read(8))))
for name in ("dockwright", "dockwright.sandbox", "dockwright.sandbox.runner", *sources):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(sources.get(name, ""), f"<{name}>", "exec"), module.__dict__)
sys.modules["dockwright.sandbox.runner.calls"].main()
"""


@cache
def source() -> bytes:
    """What BOOT reads first from the stream."""
    here = files(__name__)
    modules = {f"{__name__}.{name}": (here / f"{name}.py").read_text("utf-8") for name in MODULES}
    data = json.dumps(modules).encode("ascii")
    return b"%08d" % len(data) + data
