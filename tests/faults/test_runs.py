"""The short forms of the chaos run, overload and fuzz; the long ones are `python -m reliability.chaos` and so on."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

from reliability.chaos import chaos
from reliability.fuzz import fuzz
from reliability.messages import Known, Requests, methods
from reliability.mutations import mutated_picture, pictures
from reliability.report import PAGE, page, read
from services.common.images import decode

CASES = 300


async def test_nasty_requests_are_refused_and_the_gateway_lives() -> None:
    row = await fuzz(cases=CASES, seed=7)
    found = {name: row[name] for name in ("defects", "exceptions_in_the_log", "alive", "works_afterwards")}
    assert row["held"], found
    assert row["cases"] == CASES and {"INVALID_ARGUMENT", "OK", "NOT_FOUND"} <= set(row["statuses"])


async def test_chaos_loses_and_doubles_nothing() -> None:
    row = await chaos(seconds=15, loops=5, items=60, every_seconds=3, seed=7)
    assert row["held"], row
    assert row["kills"] and row["loops"]["started"] >= 5


def test_cases_are_the_same_for_the_same_seed() -> None:
    def cases() -> list[list[bytes]]:
        chance = random.Random(3)
        return [Requests(chance, Known(["sessions/a"], ["0" * 64])).of(one) for one in methods()]

    assert cases() == cases()
    assert mutated_picture(random.Random(5)) == mutated_picture(random.Random(5))


def test_pictures_are_valid_before_they_are_broken(tmp_path: Path) -> None:
    formats = set()
    for number, data in enumerate(pictures()):
        path = tmp_path / str(number)
        path.write_bytes(data)
        with Image.open(path) as picture:
            formats.add(picture.format)
            frames, small = getattr(picture, "n_frames", 1), min(picture.size) < 8
        if frames == 1 and not small:
            decode(data)
    assert formats == {"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"}


def test_the_page_is_what_the_results_say() -> None:
    results = (read(name) for name in ("faults", "chaos", "overload", "fuzz"))
    assert PAGE.read_text(encoding="utf-8") == page(*results)
