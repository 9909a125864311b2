"""What has to be shown in the clean sandbox, as a task list says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dockwright import agent
from dockwright.errors import ConfigError
from dockwright.proof import Demands, Probe
from dockwright.tasks import Defaults, ListedTask, read_tasks

SERVED = Demands(serve="make serve", probes=(Probe("http://localhost:8000/"),))


def read(folder: Path, name: str, text: str, proof: Demands) -> tuple[ListedTask, ...]:
    (folder / "smith.md").write_text("---\nname: smith\ndescription: builds\n---\nBuild.\n")
    (folder / name).write_text(text)
    smith = agent.load(folder / "smith.md")
    return read_tasks(folder / name, Defaults(folder, smith, proof=proof, repairs=3), lambda _: smith)


def test_flags_defaults_and_the_task_itself_each_stand_over_the_one_before(tmp_path: Path) -> None:
    text = """\
defaults: {prompt: Upgrade., check_migrations: alembic, repairs: 2}
tasks:
  - id: a
  - id: b
    probe: [http://localhost:8000/, http://localhost:8000/orders=401]
    check_migrations: alembic:db
    seed: make seed
    may_change: tests/*
    baseline: yes
    repairs: 0
"""
    b = Demands(
        serve="make serve", probes=(*SERVED.probes, Probe("http://localhost:8000/orders", 401)),
        migrations="alembic:db", seed="make seed", may_change=("tests/*",), baseline=True,
    )  # fmt: skip

    assert [(task.proof, task.repairs) for task in read(tmp_path, "t.yaml", text, SERVED)] == [
        (replace(SERVED, migrations="alembic"), 2),
        (b, 0),
    ]
    (task,) = read(tmp_path, "t.csv", "prompt,probe\nx,http://localhost:8000/\n", replace(SERVED, baseline=True))
    assert (task.proof, task.repairs) == (replace(SERVED, baseline=True), 3)


def test_what_does_not_go_together_is_told_by_line(tmp_path: Path) -> None:
    text = (
        '{"prompt": "x", "serve": "x"}\n{"prompt": "x", "check_migrations": "rails"}\n'
        '{"prompt": "x", "serve": "x", "probe": "ftp://localhost/"}\n{"prompt": "x", "repairs": -1}\n'
    )
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "t.jsonl", text, Demands())

    assert str(caught.value).replace(f"{tmp_path}/", "").splitlines()[1:] == [
        "t.jsonl:1: --serve CMD and --probe URL belong together: one starts the app, the other asks it.",
        "t.jsonl:2: --check-migrations rails is not known. There are alembic, django, knex, prisma, sql.",
        (
            "t.jsonl:3: probe: ftp://localhost/ is no address inside the sandbox. Write it as "
            "http://localhost:8000/health, with =204 behind it where another status than 2xx is right."
        ),
        "t.jsonl:4: repairs: -1 is not accepted: Input should be greater than or equal to 0",
    ]
