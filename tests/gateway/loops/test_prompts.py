"""Filling up rounds, and seeds."""

from __future__ import annotations

import numpy as np

from services.gateway.domain import ProposedPrompt
from services.gateway.loops.noise import Direction
from services.gateway.loops.prompts import candidates_of, derive_seed, proposal_seed


def made(texts: list[str], count: int, base: str = "base", round_number: int = 1) -> list[tuple[str, int]]:
    """Prompts and seeds of a round."""
    proposed = [ProposedPrompt(one, "synonym") for one in texts]
    found = candidates_of(proposed, base_prompt=base, count=count, session_seed=5, round_number=round_number)
    assert [one.id for one in found] == [f"r{round_number}c{i + 1}" for i in range(count)]
    return [(one.prompt, one.seed) for one in found]


def test_seeds_are_the_same_in_every_release() -> None:
    assert derive_seed(0, 1, 0) == 6868640916363872400
    assert derive_seed(2**64 - 1, 100, 63) < 2**63
    assert len({derive_seed(s, r, n) for s in range(8) for r in range(8) for n in range(8)}) == 512
    assert proposal_seed(0, 1) != derive_seed(0, 1, 0)


def test_different_prompts_share_the_seed_of_the_round() -> None:
    first, second, third = made(["base", "a", "b"], 3)
    assert first[1] == second[1] == third[1] == derive_seed(5, 1, 0)


def test_too_few_prompts_are_filled_up_with_the_base_under_the_next_seeds() -> None:
    found = made(["a", "base"], 5)
    assert [one for one, _ in found] == ["a", "base", "base", "base", "base"]
    assert [seed for _, seed in found] == [derive_seed(5, 1, n) for n in (0, 0, 1, 2, 3)]


def test_prompts_without_the_base_are_repeated_in_turn() -> None:
    found = made(["a", "b"], 4)
    assert [one for one, _ in found] == ["a", "b", "a", "b"]
    assert [seed for _, seed in found] == [derive_seed(5, 1, n) for n in (0, 0, 1, 1)]


def test_prompt_proposed_twice_counts_as_a_repetition() -> None:
    assert [seed for _, seed in made(["a", "a"], 2)] == [derive_seed(5, 1, 0), derive_seed(5, 1, 1)]


def test_no_prompt_at_all_falls_back_to_the_base() -> None:
    assert [one for one, _ in made([], 2)] == ["base", "base"]


def test_too_many_prompts_are_cut() -> None:
    assert [one for one, _ in made(["a", "b", "c"], 2)] == ["a", "b"]


def test_a_direction_is_mixed_with_the_noise_of_each_seed() -> None:
    towards = Direction({1: np.ones(1)}, 0.75)
    same = ProposedPrompt("base", "base")
    found = candidates_of([same], base_prompt="base", count=2, session_seed=5, round_number=2, direction=towards)
    assert [one.noise_mix for one in found] == [towards.with_fresh(one.seed) for one in found]
    assert found[0].noise_mix != found[1].noise_mix


def test_rounds_have_seeds_of_their_own() -> None:
    assert made(["a"], 1, round_number=1)[0][1] != made(["a"], 1, round_number=2)[0][1]
