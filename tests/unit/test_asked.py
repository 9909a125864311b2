"""What was asked of the network is told once, and never without end."""

from __future__ import annotations

from dockwright.sandbox.asked import MOST_HOSTS, Asked
from dockwright.sandbox.policy import Target

SHOP = Target("shop.example.org", 443)


def test_a_host_is_told_once_and_a_denied_one_once_for_each_call() -> None:
    told: list[tuple[Target, str | None, str | None]] = []
    asked = Asked()
    asked.tell = lambda target, denied, call: told.append((target, denied, call))
    for asked.call in ("toolu_1", "toolu_2", None):
        for _ in range(2):
            asked.note(SHOP)
            asked.note(SHOP, "not allowed")
    assert told == [
        (SHOP, None, "toolu_1"), (SHOP, "not allowed", "toolu_1"), (SHOP, "not allowed", "toolu_2"),
        (SHOP, "not allowed", None),
    ]  # fmt: skip


def test_the_model_is_told_what_was_denied_since_it_was_told_last() -> None:
    asked = Asked()
    asked.note(SHOP)
    for _ in range(3):
        asked.note(SHOP, "not allowed")
    assert asked.untold() == ("[network: denied shop.example.org:443: not allowed]",)
    assert asked.untold() == ()


def test_hosts_without_end_are_counted_and_no_more() -> None:
    told: list[Target] = []
    asked = Asked()
    asked.tell = lambda target, denied, call: told.append(target)
    for number in range(3 * MOST_HOSTS):
        asked.note(Target(f"h{number}.example.org", 443), "x" * 1000)
    lines = asked.untold()
    assert len(told) == MOST_HOSTS
    assert lines[-1] == f"[network: {MOST_HOSTS - 8} more hosts were denied]"
    assert (len(lines), max(map(len, lines))) == (9, 401)
