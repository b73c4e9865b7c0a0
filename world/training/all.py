"""Trains every embedded model from nothing: ``python -m world.training.all`` (``make models``).

Finished parts are skipped and interrupted ones go on where they stopped; ``--fresh`` forgets both. Steps are
counted, not timed: about ten hours on one CPU core, of which the shipped generator takes six.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

from world import export_vocabulary
from world.training import autoencoder, captioner, cards, clip, data, denoiser, evaluate, judge, reward, tokenizer
from world.training.builds import BUILDS
from world.training.common import WORK, remove_tree, report_of


def _data() -> None:
    for name in data.SPLITS:
        data.prepare(name)


def _tokenizer() -> None:
    if not tokenizer.folder().is_dir():
        tokenizer.train()


STAGES: dict[str, Callable[[], object]] = {
    "data": _data,
    "tokenizer": _tokenizer,
    "judge": judge.train,
    "autoencoder": autoencoder.train,
    "clip": clip.train,
    "captioner": captioner.train,
    "reward": reward.train,
    **{build.name: partial(denoiser.train, build=build) for build in BUILDS.values()},
}


def run(fresh: bool = False) -> None:
    """All stages in order, then the vocabulary file, the gates and the cards."""
    if fresh:
        remove_tree(WORK)
    WORK.mkdir(parents=True, exist_ok=True)
    for number, (name, stage) in enumerate(STAGES.items(), 1):
        if report_of(name):
            print(f"[all] {number}/{len(STAGES)} {name}: done before", flush=True)
            continue
        print(f"[all] {number}/{len(STAGES)} {name}", flush=True)
        started = time.monotonic()
        stage()
        print(f"[all] {name} took {time.monotonic() - started:.0f} s", flush=True)
    export_vocabulary.PATH.write_text(export_vocabulary.text(), encoding="utf-8")
    evaluate.main([])
    cards.write()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="forget finished and half-finished parts")
    run(parser.parse_args().fresh)
