"""From the prompts of a round to its candidates: filling up and seeds."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice

from services.gateway.domain import Candidate, ProposedPrompt
from services.gateway.loops.noise import Direction

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
    proposed: Sequence[ProposedPrompt],
    *,
    base_prompt: str,
    count: int,
    session_seed: int,
    round_number: int,
    direction: Direction | None = None,
) -> tuple[Candidate, ...]:
    """Exactly `count` candidates of a round.

    Prompts beyond `count` are left out. If there are fewer, the base prompt is repeated under fresh seeds, whose scores
    tell the search over noises most; if it is not among them, they are repeated in turn; if there are none, the base
    prompt stands alone. With a direction every candidate starts from it, mixed with the noise of its seed.
    """
    prompts = list(proposed[:count]) or [ProposedPrompt(base_prompt, "base")]
    repeated = [one for one in prompts if one.text == base_prompt] or prompts
    chosen = [*prompts, *islice(cycle(repeated), count - len(prompts))]
    seen: Counter[str] = Counter()
    made = []
    for index, one in enumerate(chosen, start=1):
        seed = derive_seed(session_seed, round_number, seen[one.text])
        seen[one.text] += 1
        mix = direction.with_fresh(seed) if direction else ()
        made.append(Candidate(f"r{round_number}c{index}", round_number, one.text, one.origin, seed, one.edits, mix))
    return tuple(made)


def _stable_bits(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> (64 - _SEED_BITS)
