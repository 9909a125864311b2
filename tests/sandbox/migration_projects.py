"""Small projects with migrations, sound and broken, for the proof of them."""

from __future__ import annotations

ALEMBIC_ENV = """
import os
from alembic import context
from sqlalchemy import create_engine
url = os.environ.get("DATABASE_URL", "sqlite:///./own.db")
with create_engine(url).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
ALEMBIC_INI = b"[alembic]\nscript_location = migrations\n"


def revision(name: str, before: str | None, up: str, down: str) -> bytes:
    head = f"import sqlalchemy as sa\nfrom alembic import op\nrevision = {name!r}\ndown_revision = {before!r}\n"
    return f"{head}def upgrade():\n    {up}\ndef downgrade():\n    {down}\n".encode()


def alembic(*revisions: bytes) -> dict[str, bytes]:
    files = {"alembic.ini": ALEMBIC_INI, "migrations/env.py": ALEMBIC_ENV.encode()}
    return files | {f"migrations/versions/{number}.py": text for number, text in enumerate(revisions)}


_ORDERS = (
    "op.create_table('orders', sa.Column('id', sa.Integer, primary_key=True), "
    "sa.Column('email', sa.String(20), nullable=False), "
    "sa.Column('status', sa.String(9), sa.CheckConstraint(\"status IN ('placed', 'paid')\"), nullable=False))"
)
_LINES = (
    "op.create_table('lines', sa.Column('id', sa.Integer, primary_key=True), "
    "sa.Column('order_id', sa.Integer, sa.ForeignKey('orders.id'), nullable=False))"
)
ORDERS = revision("aa11", None, _ORDERS, "op.drop_table('orders')")
LINES = revision("bb22", "aa11", _LINES, "op.drop_table('lines')")
BROKEN = revision("bb22", "aa11", _LINES, "op.drop_table('absent')")
NOT_ON_ROWS = revision("bb22", "aa11", "op.execute('CREATE UNIQUE INDEX one ON orders (1)')", "op.drop_index('one')")
NOT_DOWN_ON_ROWS = revision("bb22", "aa11", _LINES, "op.execute('DELETE FROM orders'); op.drop_table('lines')")
FORGETFUL = revision("bb22", "aa11", _LINES, "pass")

SQL = {
    "db/migrations/001_orders.up.sql": b"CREATE TABLE orders (id INTEGER PRIMARY KEY, email TEXT NOT NULL);",
    "db/migrations/001_orders.down.sql": b"DROP TABLE orders;",
    "db/migrations/002_lines.sql": (
        b"-- migrate:up\nCREATE TABLE lines (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders);\n"
        b"-- migrate:down\nDROP TABLE lines;\n"
    ),
}

DJANGO_SETTINGS = b"""
import os
from urllib.parse import urlsplit
SECRET_KEY = "x"
INSTALLED_APPS = ["shop"]
url = urlsplit(os.environ.get("DATABASE_URL", ""))
own = {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}
postgres = {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username, "HOST": url.hostname}
DATABASES = {"default": postgres if url.hostname else own}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
DJANGO_MANAGE = b"""
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


def django(second: str) -> dict[str, bytes]:
    head = "from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
    first = "migrations.CreateModel('Order', [('id', models.AutoField(primary_key=True)), ('sku', models.TextField())])"
    return {
        "settings.py": DJANGO_SETTINGS,
        "manage.py": DJANGO_MANAGE,
        "shop/__init__.py": b"",
        "shop/migrations/__init__.py": b"",
        "shop/migrations/0001_initial.py": f"{head}    initial = True\n    operations = [{first}]\n".encode(),
        "shop/migrations/0002_more.py": (
            f"{head}    dependencies = [('shop', '0001_initial')]\n    operations = [{second}]\n".encode()
        ),
    }


def knex_migration(table: str, columns: str, down: str) -> bytes:
    up = f"knex.schema.createTable('{table}', (t) => {{ t.increments('id'); {columns} }})"
    return f"exports.up = (knex) => {up};\nexports.down = (knex) => {down};\n".encode()


KNEX = {
    "package.json": b'{"private": true, "dependencies": {"knex": "3.1.0", "pg": "8.13.1"}}\n',
    "knexfile.js": b"module.exports = {client: 'pg', connection: process.env.DATABASE_URL};\n",
    "migrations/1_orders.js": knex_migration(
        "orders", "t.string('email', 20).notNullable();", "knex.schema.dropTable('orders')"
    ),
}
KNEX_BROKEN = {
    "migrations/2_lines.js": knex_migration(
        "lines", "t.integer('order_id').notNullable().references('orders.id');", "knex.schema.dropTable('absent')"
    )
}
