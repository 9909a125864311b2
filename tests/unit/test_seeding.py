"""Rows for tables of others: in an order that keys allow, with values that types and choices allow."""

from __future__ import annotations

from dockwright.proof.migrations.seeding import Column, Table, in_order, rows


def column(name: str, kind: str, *, required: bool = True, generated: bool = False, **more: object) -> Column:
    facts = {"name": name, "type": kind, "required": required, "generated": generated, **more}
    return Column.model_validate(facts)


ORDERS = Table(
    name="orders",
    columns=(
        column("id", "bigint", required=False, generated=True),
        column("email", "character varying(320)"),
        column("code", "character varying(3)"),
        column("status", "text", choices=("placed", "it's paid")),
        column("at", "timestamp with time zone", required=False),
        column("tags", "text[]"),
    ),
)
LINES = Table(name="lines", columns=(column("order_id", "bigint", references=("orders", "id")),))


def test_a_table_comes_after_those_it_needs_and_a_circle_is_no_hindrance() -> None:
    assert in_order([LINES, ORDERS]) == [ORDERS, LINES]
    one = Table(name="one", columns=(column("a", "int", references=("two", "id")),))
    two = Table(name="two", columns=(column("a", "int", references=("one", "id")),))
    assert in_order([one, two]) == [one, two]


def test_values_fit_types_lengths_choices_and_keys_and_only_what_must_be_is_tried_next() -> None:
    full, needed = rows(ORDERS, 2)
    assert full == (
        'INSERT INTO "orders" ("email", "code", "status", "at", "tags") VALUES '
        "('row2@example.com', '2', 'it''s paid', '2026-01-02 00:00:00', '{}')"
    )
    assert '"at"' not in needed
    assert rows(LINES, 2) == [
        'INSERT INTO "lines" ("order_id") VALUES ((SELECT "id" FROM "orders" ORDER BY 1 LIMIT 1 OFFSET 1))'
    ]
    assert rows(Table(name="empty", columns=None), 1) == ['INSERT INTO "empty" DEFAULT VALUES']
