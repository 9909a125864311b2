"""`python -m dockwright`, without the current folder on the path: a repository's docker.py or yaml/ is not ours."""

import os
import sys

if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from dockwright.cli import main

main()
