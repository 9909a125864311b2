"""Danger: what one command leaves behind changes what the next one, or a tool of ours, runs."""

from __future__ import annotations

import pytest
from tests.adversarial.careless_exec import Careless
from tests.conftest import new_place

from dockwright.sandbox import open_sandbox
from dockwright.tools import TOOLS
from dockwright.tools.base import ToolContext

# Whatever of it is ever read or run makes a file called `ran` in the workspace.
PLANT = r"""
evil='touch /workspace/ran'
for file in ~/.bashrc ~/.bash_profile ~/.profile ~/.bash_login ~/.shrc ~/.kshrc /etc/profile /etc/bash.bashrc; do
    echo "$evil" 2>/dev/null >> $file || :
done
mkdir -p ~/bin ~/.local/bin 2>/dev/null
for name in git rg python3 sh bash ls pwd cat env; do
    for folder in /workspace ~/bin ~/.local/bin /usr/local/bin; do
        { printf '#!/bin/sh\n%s\n' "$evil" > $folder/$name && chmod 755 $folder/$name; } 2>/dev/null || :
    done
done
for file in /workspace/sitecustomize.py /workspace/usercustomize.py /workspace/json.py /workspace/os.py; do
    echo "import posix; posix.system('$evil')" > $file
done
printf -- '--pre\n/workspace/git\n' > ~/.ripgreprc; cp ~/.ripgreprc /workspace/.ripgreprc
mkdir -p ~/.config/git; printf '[core]\n\tfsmonitor = %s\n\tpager = %s\n' "$evil" "$evil" > ~/.gitconfig
echo /workspace/evil.so 2>/dev/null > /etc/ld.so.preload || :
export PATH=/workspace:$PATH BASH_ENV=~/.bashrc ENV=~/.bashrc LD_PRELOAD=/workspace/evil.so PYTHONPATH=/workspace
"""


async def test_nothing_that_was_planted_runs_in_the_next_call(backend: str) -> None:
    async with open_sandbox(new_place(backend)) as sandbox:
        context = ToolContext(sandbox)
        await sandbox.exec([sandbox.shell, "-c", PLANT])
        assert (await sandbox.stat("/workspace/git")).mode == 0o755
        for name, fields in (
            ("Bash", {"command": "ls >/dev/null; cat /dev/null; echo $PATH $BASH_ENV $LD_PRELOAD $PYTHONPATH"}),
            ("Grep", {"pattern": "needle", "path": "/workspace"}),
            ("Glob", {"pattern": "*.py", "path": "/workspace"}),
            ("Write", {"file_path": "/workspace/new", "content": "x"}),
            ("Read", {"file_path": "/workspace/new"}),
        ):
            told = await TOOLS[name].model_validate(fields).run(context)
            assert not told.is_error, told.text
            assert "/workspace:" not in told.text
        for ours in (
            ["git", "--version"],
            ["python3", "-I", "-S", "-c", "import json, os"],
            ["rg", "--no-config", "x"],
        ):
            await sandbox.exec([f"{sandbox.runtime}/bin/{ours[0]}", *ours[1:]])
        with pytest.raises(FileNotFoundError):
            await sandbox.stat("/workspace/ran")


@pytest.mark.docker
async def test_it_runs_in_the_next_call_of_a_careless_container(careless: Careless) -> None:
    await careless.sh(f"rm -f ran; {PLANT}")
    await careless.run(["bash", "-lc", "true"])
    assert (await careless.run(["/usr/bin/test", "-e", "/workspace/ran"]))[0] == 0
    clean = (
        "cd /; /bin/rm -rf /workspace/* /usr/local/bin/* /etc/ld.so.preload ~/.profile ~/.bash_profile ~/.bash_login"
    )
    await careless.run(["/bin/sh", "-c", clean])
