"""Migrations in the clean sandbox: what is sound passes, what is broken is named by its revision."""

from __future__ import annotations

import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tests.conftest import new_place
from tests.repositories import agent_commit, new_repository
from tests.sandbox import migration_projects as projects

from dockwright.config import SandboxSettings
from dockwright.events import CheckFinished
from dockwright.journal import Journal
from dockwright.proof import Demands, OpenClean, prove
from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.sandbox.guard import Guard
from dockwright.services import open_services, services_of
from dockwright.workspace import snapshot


async def proven(
    folder: Path,
    base: Mapping[str, bytes],
    patch: Mapping[str, bytes | None],
    demands: Demands,
    opened: OpenClean = lambda: open_sandbox(new_place("bubblewrap")),
) -> tuple[CheckFinished, ...]:
    """The checks of the migrations of a patch on a base."""
    repo = new_repository(folder / "repo", {"README.md": b"# Orders\n", **base})
    workspace = await snapshot(repo, folder / "state")
    commit = await agent_commit(workspace, dict(patch))
    with Journal(folder / "journal.jsonl") as journal:
        proof = await prove(opened, workspace, commit, demands, journal=journal)
    return tuple(check for check in proof.checks if check.kind == "migrations")


ALEMBIC = Demands(migrations="alembic")


async def test_sound_migrations_pass_on_empty_filled_and_older_databases_and_the_schema_diff_is_told(
    tmp_path: Path,
) -> None:
    base = projects.alembic(projects.ORDERS)
    checks = await proven(tmp_path, base, {"migrations/versions/1.py": projects.LINES}, ALEMBIC)
    assert [(check.exit_code, check.command) for check in checks] == [
        (0, f"alembic migrations up, down and up on {where}")
        for where in ("an empty database", "a database with rows", "a database of the base commit")
    ], checks
    diff = str(checks[0].facts["schema_diff"])
    assert "+CREATE TABLE lines" in diff
    assert "+CREATE TABLE orders" not in diff
    assert "4 rows made" in checks[1].output
    assert "2 rows made" in checks[2].output


async def test_a_broken_downgrade_is_named_by_its_revision(tmp_path: Path) -> None:
    checks = await proven(tmp_path, {}, projects.alembic(projects.ORDERS, projects.BROKEN), ALEMBIC)
    assert [(check.exit_code, check.facts["failed"]) for check in checks] == [(1, "downgrade of bb22")] * 2, checks
    assert "no such table: absent" in checks[0].output


async def test_a_downgrade_that_forgets_something_breaks_the_second_upgrade(tmp_path: Path) -> None:
    checks = await proven(tmp_path, {}, projects.alembic(projects.ORDERS, projects.FORGETFUL), ALEMBIC)
    assert checks[0].facts["failed"] == "upgrade again of bb22", checks
    assert "left behind by the downgrade: CREATE TABLE lines" in checks[0].output


async def test_an_upgrade_that_fails_on_rows_of_the_base_commit_only_is_found(tmp_path: Path) -> None:
    base = projects.alembic(projects.ORDERS)
    checks = await proven(tmp_path, base, {"migrations/versions/1.py": projects.NOT_ON_ROWS}, ALEMBIC)
    assert [check.exit_code for check in checks] == [0, 0, 1], checks
    assert checks[2].facts["failed"] == "upgrade of bb22"


async def test_a_patch_that_brings_migrations_into_a_folder_of_the_base_commit_has_no_older_ones_to_hold(
    tmp_path: Path,
) -> None:
    patch = {f"src/{name}": text for name, text in projects.alembic(projects.ORDERS).items()}
    checks = await proven(tmp_path, {"src/app.py": b""}, patch, Demands(migrations="alembic:src"))
    assert [check.exit_code for check in checks] == [0, 0], checks


async def test_a_command_of_the_user_fills_the_database(tmp_path: Path) -> None:
    seed = 'python3 -c \'import os, sqlite3; d = sqlite3.connect(os.environ["DATABASE_URL"][10:]); '
    seed += 'd.execute("INSERT INTO orders VALUES (7, \\"a\\", \\"paid\\")"); d.commit(); print("filled")\''
    demands = Demands(migrations="alembic", seed=f"{seed} && false")
    checks = await proven(tmp_path, {}, projects.alembic(projects.ORDERS), demands)
    assert [check.exit_code for check in checks] == [0, 1], checks
    assert (checks[1].facts["failed"], "filled" in checks[1].output) == ("seed", True)


async def test_plain_sql_files_of_both_kinds_are_migrations(tmp_path: Path) -> None:
    checks = await proven(tmp_path, {}, projects.SQL, Demands(migrations="sql"))
    assert [check.exit_code for check in checks] == [0, 0], checks
    assert "4 rows made" in checks[1].output


async def test_plain_sql_without_a_way_down_is_told_by_name(tmp_path: Path) -> None:
    files = {name: text for name, text in projects.SQL.items() if "down" not in name}
    checks = await proven(tmp_path, {}, files, Demands(migrations="sql:db/migrations"))
    assert checks[0].facts["failed"] == "downgrade of 001_orders.up.sql", checks


async def test_a_project_without_migrations_fails_the_check(tmp_path: Path) -> None:
    checks = await proven(tmp_path, {}, {"app.py": b""}, ALEMBIC)
    assert [(check.exit_code, check.facts["failed"]) for check in checks] == [
        (1, "the patch has no alembic migrations")
    ] * 2


@cache
def django() -> bytes:
    """The Django of the tests, without its translations, packed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for package in ("django", "asgiref", "sqlparse"):
            found = find_spec(package)
            assert found is not None
            tar.add(Path(found.origin or "").parent, package, filter=_without_translations)
    return packed.getvalue()


@asynccontextmanager
async def with_django(folder: Path | None = None) -> AsyncIterator[Sandbox]:
    """A clean sandbox whose image has Django. With a folder there is a PostgreSQL beside it."""
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(open_sandbox(new_place("docker" if folder else "bubblewrap")))
        await sandbox.write("/tmp/django.tar.gz", django())
        await sandbox.exec(["mkdir", "/tmp/packages"])
        await sandbox.exec(["tar", "xzf", "/tmp/django.tar.gz", "-C", "/tmp/packages"])
        env = {**sandbox.env, "PYTHONPATH": "/tmp/packages"}
        if folder:
            journal = stack.enter_context(Journal(folder / "services.jsonl"))
            wanted = services_of(SandboxSettings(services=("postgres",)))
            services = await stack.enter_async_context(
                open_services(Guard(), wanted, sandbox, folder, "proof", journal)
            )
            env |= services.env
        yield replace(sandbox, env=env)


def _without_translations(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    english = "/locale/en/" in member.name
    return None if not english and member.name.endswith((".mo", ".po", ".js", ".css", ".svg")) else member


async def test_django_goes_down_app_by_app_on_a_database_of_its_own(tmp_path: Path) -> None:
    add = "migrations.AddField('Order', 'note', models.TextField(default=''))"
    checks = await proven(tmp_path, {}, projects.django(add), Demands(migrations="django"), with_django)
    assert [check.exit_code for check in checks] == [0, 0], checks
    assert "shop.sqlite3, not by DATABASE_URL" in checks[0].output
    assert "2 rows made" in checks[1].output


async def test_a_django_migration_that_cannot_go_down_on_postgresql_is_named(tmp_path: Path) -> None:
    one_way = "migrations.RunPython(lambda apps, editor: None)"
    django = Demands(migrations="django")
    checks = await proven(tmp_path, {}, projects.django(one_way), django, lambda: with_django(tmp_path))
    assert [check.facts["failed"] for check in checks] == ["downgrade of shop.0002_more"] * 2, checks
    assert "CREATE TABLE public.shop_order" in str(checks[0].facts["schema_diff"])
    assert "2 rows made" in checks[1].output
