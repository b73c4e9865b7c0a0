"""Which group's pictures take the next step."""

from __future__ import annotations

from collections.abc import Collection, Hashable

MOST_PASSED_OVER = 8


class Rotation:
    """Shares the denoiser's time out among groups.

    The group that has used the least time per picture is next, so that small pictures do not wait for large ones at
    every step and a crowded group does not get less for each of its pictures than a lonely one. A new group starts
    level with the one that has used the least, and goes first. One that was passed over 8 times in a row is next
    whatever it has used: none starves.
    """

    def __init__(self) -> None:
        self._used_seconds: dict[Hashable, float] = {}
        self._passed_over: dict[Hashable, int] = {}

    def next(self, groups: Collection[Hashable]) -> Hashable:
        """The group to step, of those that have pictures (at least one)."""
        known = {group: used for group, used in self._used_seconds.items() if group in groups}
        least = min(known.values(), default=0.0)
        used = {group: known.get(group, least) for group in groups}
        passed_over = {group: self._passed_over.get(group, -1) + 1 for group in groups}
        chosen = max(groups, key=passed_over.__getitem__)
        if passed_over[chosen] <= MOST_PASSED_OVER:
            chosen = min(groups, key=lambda group: (used[group], group in known))
        self._used_seconds = used
        self._passed_over = passed_over | {chosen: -1}
        return chosen

    def charge(self, group: Hashable, seconds_per_picture: float) -> None:
        """Notes what a step of the group took."""
        self._used_seconds[group] += seconds_per_picture
