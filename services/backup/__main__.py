"""`python -m services.backup create|list|verify|restore PLACE`: JSON lines, for `likeness backup`.

Each line has a `kind`: "progress" (step, done), "backup" (a manifest in short), "lost" (objects), "thinned",
and at the end "error" or "end" (exit status).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from services.backup import restoring
from services.backup.creating import create
from services.backup.manifest import Manifest
from services.backup.place import Place, open_place
from services.backup.stores import opened
from services.backup.thinning import thin
from services.common.errors import LikenessError
from services.common.settings import Settings

_PROGRESS_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, or 1 if it failed or something is lost."""
    parser = argparse.ArgumentParser(prog="python -m services.backup")
    parser.add_argument("verb", choices=["create", "list", "verify", "restore"])
    parser.add_argument("place")
    parser.add_argument("--name")
    parser.add_argument("--keep", type=int)
    parser.add_argument("--replace")
    args = parser.parse_args(arguments)
    try:
        status = asyncio.run(_run(args))
        # Whoever reads this knows now that it did not break off.
        _say("end", status=status)
        return status
    except LikenessError as error:
        _say("error", reason=error.reason.value, message=error.message, field=error.field)
    except DBAPIError as error:
        # Such as a wrong password, or a role without the right: PostgreSQL says which.
        said = str(error.orig)
        reason = (said.partition(">: ")[2] or said).strip().partition("\n")[0]
        _say("error", reason="DATABASE_UNAVAILABLE", message=f"the database refuses: {reason}", field="")
    except ValidationError as error:
        names = ", ".join("LIKENESS_" + str(one["loc"][0]).upper() for one in error.errors() if one["loc"])
        message = f"settings cannot be read: {names}; see `likeness doctor`"
        _say("error", reason="INVALID_FIELD", message=message, field=names)
    return 1


async def _run(args: argparse.Namespace) -> int:
    place = open_place(args.place)
    if args.verb == "list":
        for name in await restoring.whole(place):
            _show(await restoring.manifest_of(place, name))
        return 0
    if args.verb == "verify":
        manifest = await restoring.manifest_of(place, args.name)
        return _shown(manifest, await restoring.verify(place, manifest, _Progress()))
    async with opened(Settings()) as stores:
        if args.verb == "create":
            manifest = await create(stores.database_url, stores.objects, place, _Progress())
            status = _shown(manifest, manifest.lost_objects)
            await _thin(place, args.keep)
            return status
        manifest = await restoring.manifest_of(place, args.name)
        lost = await restoring.restore(
            stores.database_url, stores.objects, place, manifest, _Progress(), replace=args.replace
        )
        return _shown(manifest, lost)


async def _thin(place: Place, keep: int | None) -> None:
    if keep is not None:
        removed = await thin(place, keep)
        _say("thinned", backups=removed.backups, objects=removed.objects)


class _Progress:
    """Says how far a step is, twice a second at most."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, step: str, done: int) -> None:
        if done and time.monotonic() - self._last >= _PROGRESS_SECONDS:
            self._last = time.monotonic()
            _say("progress", step=step, done=done)


def _shown(manifest: Manifest, lost: Sequence[str]) -> int:
    _show(manifest)
    if lost:
        _say("lost", count=len(lost), objects=list(lost[:10]))
    return 1 if lost else 0


def _show(manifest: Manifest) -> None:
    _say(
        "backup",
        name=manifest.name,
        version=manifest.version,
        revision=manifest.revision,
        begin_time=manifest.begin_time.isoformat(),
        end_time=manifest.end_time.isoformat(),
        rows={one.table: one.row_count for one in manifest.tables},
        size_bytes=sum(file.size_bytes for file in manifest.files),
        objects=manifest.object_count,
        lost_objects=len(manifest.lost_objects),
    )


def _say(kind: str, **values: Any) -> None:
    print(json.dumps({"kind": kind, **values}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
