"""From the prompts of a round to its candidates: filling up and seeds."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice

from services.gateway.domain import Candidate, ProposedPrompt

_SEED_BITS = 63


def derive_seed(session_seed: int, round_number: int, repetition: int) -> int:
    """A 63-bit seed, the same on every machine and in every release.

    Args:
        session_seed: Seed of the session, 0..2**64-1.
        round_number: Round, from 1.
        repetition: How often the prompt came before in this round; the first occurrences of different prompts share
            a seed, so that their pictures differ by the prompt alone (paired comparison).
    """
    return _stable_bits(f"likeness-seed:{session_seed}:{round_number}:{repetition}")


def proposal_seed(session_seed: int, round_number: int) -> int:
    """Seed of a strategy's random choices in a round; independent of the pictures' seeds."""
    return _stable_bits(f"likeness-proposal:{session_seed}:{round_number}")


def candidates_of(
    proposed: Sequence[ProposedPrompt], *, base_prompt: str, count: int, session_seed: int, round_number: int
) -> tuple[Candidate, ...]:
    """Exactly `count` candidates of a round.

    Prompts beyond `count` are left out. If there are fewer, they are repeated in turn under fresh seeds, the base
    prompt first; if there are none, the base prompt stands alone.
    """
    prompts = list(proposed[:count]) or [ProposedPrompt(base_prompt, "base")]
    in_turn = sorted(prompts, key=lambda one: one.text != base_prompt)
    chosen = [*prompts, *islice(cycle(in_turn), count - len(prompts))]
    seen: Counter[str] = Counter()
    made = []
    for index, one in enumerate(chosen, start=1):
        seed = derive_seed(session_seed, round_number, seen[one.text])
        seen[one.text] += 1
        made.append(Candidate(f"r{round_number}c{index}", round_number, one.text, one.origin, seed, one.edits))
    return tuple(made)


def _stable_bits(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> (64 - _SEED_BITS)
