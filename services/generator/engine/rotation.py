"""Which group's pictures take the next step."""

from __future__ import annotations

from collections.abc import Collection, Hashable

MOST_PASSED_OVER = 8


class Rotation:
    """Shares the engine's time out among groups: denoising, and what comes before and after it.

    The group that has used the least time per picture is next, so that small pictures do not wait for large ones at
    every step and a crowded group does not get less for each of its pictures than a lonely one. A new group starts
    level with the one that has used the least, and goes first. One that was passed over 8 times in a row is next
    whatever it has used: none starves.
    """

    def __init__(self) -> None:
        self._used_seconds: dict[Hashable, float] = {}
        self._passed_over: dict[Hashable, int] = {}
        self._debts_seconds: dict[Hashable, float] = {}
        """What groups took before they were known here; due with their first turn, which comes no later for it."""

    def next(self, groups: Collection[Hashable]) -> Hashable:
        """The group to step, of those that have pictures (at least one)."""
        known = {group: used for group, used in self._used_seconds.items() if group in groups}
        least = min(known.values(), default=0.0)
        used = {group: known.get(group, least) for group in groups}
        passed_over = {group: self._passed_over.get(group, -1) + 1 for group in groups}
        chosen = max(groups, key=passed_over.__getitem__)
        if passed_over[chosen] <= MOST_PASSED_OVER:
            chosen = min(groups, key=lambda group: (used[group], group in known))
        used[chosen] += self._debts_seconds.pop(chosen, 0.0)
        self._debts_seconds = {group: debt for group, debt in self._debts_seconds.items() if group in groups}
        self._used_seconds = used
        self._passed_over = passed_over | {chosen: -1}
        return chosen

    def charge(self, group: Hashable, seconds_per_picture: float) -> None:
        """Notes what pictures of the group took, each of those that it has or that took part."""
        account = self._used_seconds if group in self._used_seconds else self._debts_seconds
        account[group] = account.get(group, 0.0) + seconds_per_picture
