"""Which group steps next."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Mapping

from services.generator.engine.rotation import MOST_PASSED_OVER, Rotation


def turns(rotation: Rotation, seconds_per_picture: Mapping[Hashable, float], count: int) -> list[Hashable]:
    """Groups that step, each step of a group taking what is said."""
    chosen = []
    for _ in range(count):
        chosen.append(rotation.next(seconds_per_picture))
        rotation.charge(chosen[-1], seconds_per_picture[chosen[-1]])
    return chosen


def test_groups_of_equal_cost_take_turns() -> None:
    chosen = turns(Rotation(), {"a": 1.0, "b": 1.0, "c": 1.0}, 30)
    assert all(set(chosen[at : at + 3]) == {"a", "b", "c"} for at in range(0, 30, 3))


def test_each_picture_gets_the_same_time_whatever_its_step_costs() -> None:
    counts = Counter(turns(Rotation(), {"small": 1.0, "large": 4.0}, 500))
    assert abs(counts["small"] * 1.0 - counts["large"] * 4.0) <= 4.0


def test_the_costliest_group_is_not_passed_over_for_ever() -> None:
    chosen = turns(Rotation(), {"small": 0.001, "large": 100.0}, 100)
    at = [place for place, group in enumerate(chosen) if group == "large"]
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert len(at) >= 10 and max(gaps) <= MOST_PASSED_OVER + 2


def test_with_many_groups_none_starves_either() -> None:
    costs = {f"small{index}": 0.001 for index in range(20)} | {"large": 100.0}
    counts = Counter(turns(Rotation(), costs, 2000))
    assert min(counts.values()) >= 50


def test_a_new_group_goes_first_and_owes_nothing() -> None:
    rotation = Rotation()
    turns(rotation, {"old": 1.0, "older": 1.0}, 100)
    chosen = turns(rotation, {"old": 1.0, "older": 1.0, "new": 1.0}, 30)
    assert chosen[0] == "new"
    # No credit for the time before it came: it takes its share and no more.
    assert chosen.count("new") in (10, 11)


def test_a_group_that_was_away_owes_nothing_and_has_no_credit() -> None:
    rotation = Rotation()
    turns(rotation, {"a": 1.0, "b": 50.0}, 20)
    turns(rotation, {"a": 1.0}, 20)
    chosen = turns(rotation, {"a": 1.0, "b": 1.0}, 20)
    assert chosen.count("b") == 10


def test_what_a_group_took_before_its_first_turn_is_due_with_it() -> None:
    rotation = Rotation()
    turns(rotation, {"old": 1.0}, 10)
    rotation.charge("new", 4.5)
    rotation.charge("gone", 100.0)
    chosen = turns(rotation, {"old": 1.0, "new": 1.0}, 20)
    assert chosen[:2] == ["new", "old"] and chosen.index("new", 1) == 7
    assert abs(chosen[8:].count("new") - chosen[8:].count("old")) <= 1
    # Of one that never came to its turn nothing is kept.
    assert turns(rotation, {"old": 1.0, "new": 1.0, "gone": 1.0}, 30).count("gone") in (10, 11)
