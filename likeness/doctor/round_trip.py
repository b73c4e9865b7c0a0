"""A picture made and scored, as work would be: what is found by doing it and by nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator

from likeness._client import Client
from likeness._errors import LikenessError
from likeness._types import GeneratedImage
from likeness.doctor.findings import Finding, ok, problem

PROMPT = "a red circle"
STEPS = 2
_LOG = "Look into the log of the {} for this time."


def round_trip(client: Client) -> Iterator[Finding]:
    """Makes one picture in two steps and scores it against itself. Nothing is stored."""
    started = time.monotonic()
    try:
        made = client.generate(PROMPT, steps=STEPS, seed=1)[0]
    except LikenessError as error:
        yield problem("generate", f"no picture could be made: {error.message}", _LOG.format("generator"))
        return
    if made.error is not None:
        yield problem("generate", f"no picture could be made: {made.error.message}", _LOG.format("generator"))
        return
    yield ok("generate", f"a picture in {STEPS} steps took {time.monotonic() - started:.1f} s")
    yield from _score(client, made)


def _score(client: Client, made: GeneratedImage) -> Iterator[Finding]:
    started = time.monotonic()
    try:
        result = client.score(made.png, [made.png])[0]
    except LikenessError as error:
        yield problem("score", f"the picture could not be scored: {error.message}", _LOG.format("scorer"))
        return
    failed = [f"{score.metric}: {score.error.message}" for score in result.scores if score.error]
    failed += [result.error.message] if result.error else []
    if failed:
        yield problem("score", f"the picture could not be scored: {'; '.join(failed)}", _LOG.format("scorer"))
        return
    metrics = ", ".join(score.metric for score in result.scores)
    yield ok("score", f"the picture against itself by {metrics} took {time.monotonic() - started:.1f} s")
