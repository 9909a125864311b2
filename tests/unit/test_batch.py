"""What a batch makes of the folder it finds, and of the ends of its tasks."""

from __future__ import annotations

import fcntl
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

from dockwright import agent
from dockwright.batch import WORST_FIRST, Flags, Order, ResultLine, Settings, batch, load_order, schema, worst
from dockwright.batch.attempt import task_of
from dockwright.batch.begun import given_up, half_done
from dockwright.config import Config, ModelSettings, SandboxSettings
from dockwright.errors import ConfigError, ExitCode
from dockwright.events import Answered, Event, Resumed, RunFinished, RunStarted, SandboxStarted, Status, Usage
from dockwright.journal import Journal
from dockwright.proof import Demands, Probe
from dockwright.redaction import Redaction
from dockwright.result import exit_code_of
from dockwright.run.bench import Host
from dockwright.run.order import save_order
from dockwright.tasks import ListedTask
from dockwright.tools import TOOLS

PAGE = Path(__file__).parents[2] / "docs/batch.md"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def listed(out: Path, *ids: str, tools: str = "Read") -> list[ListedTask]:
    path = out.parent / "smith.md"
    path.write_text(f"---\nname: smith\ndescription: builds\ntools: {tools}\n---\nBuild.\n")
    smith = agent.load(path)
    return [ListedTask(id=id_, line=line, prompt=id_, repo=out, agent=smith) for line, id_ in enumerate(ids, 1)]


def line(task: ListedTask, status: Status, *, run: str = "0", cost: float = 1.0) -> ResultLine:
    return ResultLine(
        id=task.id, run=run, status=status, exit_code=exit_code_of(status), agent="smith", model="m", repo="/repo",
        turns=1, cost=cost, usage=Usage(), started=None, seconds=1.0, task_sha256=task.sha256,
    )  # fmt: skip


def write(out: Path, *lines: ResultLine, torn: str = "") -> None:
    """The lines, with a folder for each of their tasks."""
    for each in lines:
        (out / each.id).mkdir(exist_ok=True)
        (out / each.id / "journal.jsonl").touch()
    (out / "results.jsonl").write_text("".join(f"{each.model_dump_json()}\n" for each in lines) + torn)


def results(out: Path) -> list[ResultLine]:
    return [ResultLine.model_validate_json(each) for each in (out / "results.jsonl").read_text().splitlines()]


async def run(
    tasks: Sequence[ListedTask], out: Path, host: Host | None = None, jobs: int = 2, settings: Settings | None = None
) -> tuple[int, list[str]]:
    """Where no host is given there is no root file system for a sandbox, so that no task gets further than that."""
    file = io.StringIO()
    nobody = ModelSettings(api_key=SecretStr("sk"), base_url="http://127.0.0.1:9", attempts=1)
    config = Config(model=nobody, sandbox=SandboxSettings(backend="bubblewrap"))
    code = await batch(
        tasks,
        config,
        host or Host(root=out / "gone"),
        out,
        settings or Settings(jobs=jobs, retries=0),
        Console(file=file, width=200),
    )
    return code, file.getvalue().splitlines()


async def test_the_last_line_of_each_task_counts_and_stays_in_the_order_of_the_list(out: Path) -> None:
    a, b, c = listed(out, "a", "b", "c")
    kept = [line(c, "done"), line(a, "interrupted"), line(b, "refused"), line(a, "unverified", run="1")]
    write(out, *kept, torn='{"id": "b", "sta')

    code, shown = await run([a, b, c], out)

    assert (code, results(out)) == (6, [kept[3], kept[2], kept[0]])
    assert shown[0] == "3 tasks, 2 at once, 3 finished before"
    assert not list(out.glob(".results*"))


async def write_run(out: Path, task: ListedTask, *ends: Event, asked: str = "") -> None:
    """A run of the task, as `asked` or as it is, with these events after its start."""
    folder = out / task.id
    folder.mkdir()
    order = replace(task_of(task), run=f"run-{task.id}", asked=asked or task.sha256)
    save_order(folder, order, Config(), Redaction())
    with Journal(folder / "journal.jsonl") as journal:
        started = RunStarted(
            run=order.run, version="1", task=task.prompt, agent="smith", agent_sha256=task.agent.sha256, model="m",
            repo=str(task.repo),
        )  # fmt: skip
        for event in (started, *ends):
            await journal.append(event)


def ended(status: Status) -> RunFinished:
    return RunFinished(status=status, exit_code=exit_code_of(status))


RESUMED = Resumed(run="run-a", version="1", turn=1)
IN_SANDBOX = SandboxStarted(purpose="work", backend="docker", id="a", image="", network="none", seconds=0.1)
ANSWER = Answered(
    turn=2, id="m", model="m", content=(), stop_reason="end_turn", usage=Usage(), cost=None, seconds=0.1
)  # fmt: skip


@pytest.mark.parametrize(
    ("ends", "goes_on"),
    [
        ([], True),
        ([ended("interrupted")], True),
        ([ended("model_error")], True),
        ([ended("config_error")], True),
        ([ended("limit")], True),
        ([ended("bug")], False),
        ([ended("refused")], False),
        ([ended("sandbox_lost")], True),
        ([ended("sandbox_lost"), RESUMED, ended("sandbox_lost")], True),
        ([ended("sandbox_lost"), RESUMED, IN_SANDBOX, ANSWER, ended("sandbox_lost")], True),
        ([ended("sandbox_lost"), RESUMED, IN_SANDBOX, ended("sandbox_lost")], False),
        ([ended("sandbox_lost"), RESUMED, IN_SANDBOX, ended("interrupted")], True),
    ],
)
async def test_a_run_goes_on_unless_it_ended_or_lost_a_second_sandbox_before_it_got_further(
    out: Path, ends: list[Event], goes_on: bool
) -> None:
    (a,) = listed(out, "a")
    await write_run(out, a, *ends)

    assert (half_done(a, out / "a") is not None) == goes_on
    assert given_up([a], out) == (set() if goes_on else {"run-a"})


async def test_a_run_is_taken_up_under_its_name_and_one_of_a_task_that_was_changed_is_kept_aside(out: Path) -> None:
    a, b, c = listed(out, "a", "b", "c")
    await write_run(out, b, ended("interrupted"), asked=replace(b, base="v1").sha256)
    write(out, line(c, "interrupted", run="run-c"))  # of which there is no order

    for resumed in range(3):
        before = results(out)
        code, _ = await run([a, b, c], out)

        lines = results(out)
        assert (code, [each.status for each in lines]) == (8, ["sandbox_lost"] * 3)
        assert all(each.reason.startswith(f"{out}/gone has neither") for each in lines)
        assert {each.resumed for each in lines} == {resumed}
        assert not resumed or [each.run for each in lines] == [each.run for each in before]
        assert not {each.run for each in lines} & {"run-b", "run-c"}
        assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["a", "b", "b~1", "c", "c~1"]


async def test_a_task_whose_folder_was_removed_is_done_again(out: Path) -> None:
    a, b = listed(out, "a", "b")
    write(out, line(a, "verified"), line(b, "verified"))
    (out / "b/journal.jsonl").unlink()
    (out / "b").rmdir()

    await run([a, b], out)

    assert [each.status for each in results(out)] == ["verified", "sandbox_lost"]


async def test_a_run_that_ended_before_its_line_was_written_is_not_done_again(out: Path) -> None:
    a, b = listed(out, "a", "b")
    await write_run(out, a, ended("done"))
    await write_run(out, b, ended("done"), asked="something else")

    await run([a, b], out)

    assert [(each.run == f"run-{each.id}", each.status) for each in results(out)] == [
        (True, "done"),
        (False, "sandbox_lost"),
    ]


async def refused(tasks: Sequence[ListedTask], out: Path) -> str:
    (out / ".lock").touch()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as caught:
        await run(tasks, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    return str(caught.value).replace(str(out), "OUT")


async def test_finished_tasks_that_were_changed_are_named_and_nothing_starts(out: Path) -> None:
    a, b, c = listed(out, "a", "b", "c")
    write(out, line(a, "verified"), line(b, "limit"))
    changed = [replace(a, prompt="Other words."), replace(b, tags=("new",)), c]

    assert await refused(changed, out) == (
        "OUT holds results of tasks that were changed since: a. Remove their folders to have them done anew, undo the "
        "change, or choose another --out. Nothing was started."
    )


async def test_finished_tasks_that_are_not_in_the_list_are_named_and_nothing_starts(out: Path) -> None:
    tasks = listed(out, *(f"t{number}" for number in range(14)))
    write(out, *(line(task, "done") for task in tasks))

    assert await refused(tasks[:1], out) == (
        "OUT holds results of tasks that are not in the list: t1, t2, t3, t4, t5, t6, t7, t8, t9, t10 and 3 more. Put "
        "them back into the list, remove their folders, or choose another --out. Nothing was started."
    )


async def test_folders_and_files_of_others_are_never_moved(out: Path) -> None:
    (out / "src").mkdir()
    (out / "src/app.py").touch()
    (out / "README.md").touch()
    (out / "empty").mkdir()

    assert await refused(listed(out, "src", "README.md", "empty", "new"), out) == (
        "OUT holds something else under the names of tasks: src, README.md. Choose another --out. Nothing was started."
    )


async def test_a_line_that_is_no_result_is_named(out: Path) -> None:
    (a,) = listed(out, "a")
    write(out, line(a, "done"))
    with (out / "results.jsonl").open("a") as file:
        file.write('{"id": 1}\n')

    assert await refused([a], out) == (
        "OUT/results.jsonl:2: this is no line of results: Input should be a valid string. Mend it, or choose another "
        "--out. Nothing was started."
    )


async def test_one_batch_at_a_time_works_in_a_folder(out: Path) -> None:
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert await refused(listed(out, "a"), out) == (
            "Another batch is at work in OUT. Wait until it has ended, or choose another --out."
        )


@pytest.mark.bubblewrap
async def test_a_bug_in_one_task_is_told_and_ends_no_other(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (out.parent / "repo").mkdir()
    a, b = (replace(task, repo=out.parent / "repo") for task in listed(out, "a", "b"))
    b = replace(b, net=("none",))

    code, _ = await run([a, b], out, Host(ca_file=out / "gone.pem"), jobs=1)

    told = f"FileNotFoundError: [Errno 2] No such file or directory: '{out / 'gone.pem'}'"
    assert (code, [each.status for each in results(out)]) == (ExitCode.BUG, ["bug", "model_error"])
    assert (results(out)[0].reason, capfd.readouterr().err.count(told)) == (told, 1)


async def test_tasks_that_cannot_be_begun_are_told_at_once_and_nothing_starts(out: Path) -> None:
    a, b, c = listed(out, "a", "b", "c", tools="Nothing")
    d = replace(listed(out, "d")[0], repo=out / "gone")

    assert await refused([a, b, c, d], out) == (
        "Some tasks cannot be begun, so nothing was started.\n"
        "a, b, c: The persona smith asks for Nothing, and none of it can be used. Correct `tools` or `disallowedTools` "
        f"in {a.agent.path}; there are: {', '.join(TOOLS)}. Capitals count.\n"
        "d: OUT/gone is not a folder. Name a repository, or an empty folder to start from."
    )


def test_the_published_schema_is_that_of_the_lines() -> None:
    assert (PAGE.parent / "results.schema.json").read_text() == schema()


async def test_what_was_asked_is_kept_in_the_folder_but_for_secrets(out: Path) -> None:
    a, b = listed(out, "a", "b")
    b = replace(b, prompt="Log in with hunter2!", metadata={"password": "hunter2!"})
    tasks = [replace(a, proof=Demands(serve="serve", probes=(Probe("http://localhost/", 204),)), repairs=2), b]
    settings = Settings(flags=Flags(image="img"), budget=5.0, unknown_price=True, retries=0)
    hidden = Redaction({"PASSWORD": "hunter2!"})

    await run(tasks, out, Host(root=out / "gone", redaction=hidden), settings=settings)
    order = load_order(out)

    kept = replace(b, prompt="Log in with [PASSWORD]", metadata={"password": "[PASSWORD]"}, hidden=True)
    assert order == Order((tasks[0], kept), Flags(image="img"), 5.0, True)
    assert [each.task_sha256 for each in results(out)] == [task.sha256 for task in order.tasks]
    assert [path for path in out.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()] == []
    assert await refused(list(order.tasks), out) == (
        "Some tasks cannot be begun, so nothing was started.\nb: a secret was in what it asks for, and is not kept in "
        "the folder. Start with the task file."
    )

    write(out, *(each.model_copy(update={"status": "done", "exit_code": 0}) for each in results(out)))
    code, shown = await run(tasks, out, Host(redaction=hidden))  # finished ones are known again
    assert (code, shown[0]) == (0, "2 tasks, 2 at once, 2 finished before")
    code, shown = await run(order.tasks, out)
    assert (code, shown[0]) == (0, "2 tasks, 2 at once, 2 finished before")


def test_the_worst_end_decides() -> None:
    assert [int(code) for code in WORST_FIRST] == [130, 1, 2, 8, 7, 5, 6, 3, 4]
    assert [worst(WORST_FIRST[number:]) for number in range(9)] == list(WORST_FIRST)
    assert (worst([0, 0]), worst([]), worst([0, 4, 3])) == (ExitCode.OK, ExitCode.OK, ExitCode.CHECKS_FAILED)


def test_the_example_of_the_documentation_is_a_whole_line() -> None:
    page = PAGE.read_text()
    example = json.loads(re.findall(r"```json\n(\{\n.*?)```", page, re.DOTALL)[0])

    assert ResultLine.model_validate(example).model_dump(mode="json") == example
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == [str(int(code)) for code in WORST_FIRST]
