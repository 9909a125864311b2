"""What programs in a sandbox asked of the network: for the journal, and, where it was denied, for the model.

All of it is chosen by whoever is inside, so all of it is bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from dockwright.sandbox.policy import Target

MOST_HOSTS, _MOST_LINES, _LINE = 1000, 8, 400
OnAsked = Callable[[Target, str | None, str | None], None]  # why it was denied; the id of the call


class Asked:
    """`call` is the id of the tool call that runs now, if one does; calls that may use the network run alone. `tell`
    hears of each host once, of a denied one once for each call, and of at most `MOST_HOSTS`."""

    def __init__(self) -> None:
        self.call: str | None = None
        self.tell: OnAsked = lambda target, denied, call: None
        self._known: set[tuple[Target, str | None, str | None]] = set()
        self._denied: dict[str, None] = {}

    def note(self, target: Target, denied: str | None = None) -> None:
        if denied is not None and len(self._denied) < MOST_HOSTS:
            self._denied[f"[network: denied {target}: {denied}"[:_LINE] + "]"] = None
        about = (target, denied, self.call if denied else None)
        if about not in self._known and len(self._known) < MOST_HOSTS:
            self._known.add(about)
            self.tell(target, denied, self.call)

    def untold(self) -> tuple[str, ...]:
        """A line for each host that was denied since this was asked last, for the model."""
        lines, self._denied = list(self._denied), {}
        more = len(lines) - _MOST_LINES
        return (*lines[:_MOST_LINES], *([f"[network: {more} more hosts were denied]"] if more > 0 else ()))
