"""The program inside the sandbox, and how it gets there.

The host sends these modules over the stream, so nothing of ours lies in the image and both ends are always of one
version. They use the standard library and each other, nothing else. They go as source and, for an interpreter that
takes what ours makes of it, compiled.
"""

from __future__ import annotations

import binascii
import marshal
from functools import cache
from importlib.resources import files
from importlib.util import MAGIC_NUMBER
from typing import Any

MODULES = ("wire", "loop", "tcp", "guard", "budget", "files", "marks", "capture", "program", "process", "calls")

# What `python3 -c` runs: read the modules, make them importable under their own names, go.
BOOT = """
import marshal, os, sys, types
from importlib.util import MAGIC_NUMBER
def read(size):
    data = b""
    while len(data) < size:
        data += os.read(0, size - len(data)) or sys.exit(1)
    return data
magic, compiled, source = (read(int(read(8))) for _ in range(3))
modules = marshal.loads(compiled if magic == MAGIC_NUMBER else source)
for name in ("dockwright", "dockwright.sandbox", "dockwright.sandbox.runner", *modules):
    module = sys.modules[name] = types.ModuleType(name)
    exec(modules.get(name, ""), module.__dict__)
sys.modules["dockwright.sandbox.runner.calls"].main()
os._exit(0)
"""


@cache
def source() -> bytes:
    """What BOOT reads first from the stream."""
    here = files(__name__)
    modules = {f"{__name__}.{name}": (here / f"{name}.py").read_text("utf-8") for name in MODULES}
    compiled = {name: compile(text, f"<{name}>", "exec", dont_inherit=True) for name, text in modules.items()}
    return b"".join(b"%08d" % len(part) + part for part in (MAGIC_NUMBER, _packed(compiled), _packed(modules)))


@cache
def code(program: str, magic: str) -> tuple[str, str]:
    """A program as a runner takes it whose interpreter has this magic number."""
    if magic != MAGIC_NUMBER.hex():
        return "source", program
    return "marshal", binascii.b2a_base64(_packed(compile(program, "<string>", "exec", dont_inherit=True))).decode()


def _packed(value: Any) -> bytes:
    """In a form that every Python reads. Nothing of it is ever read on the host, because it is not safe to be."""
    return marshal.dumps(value, 4)
