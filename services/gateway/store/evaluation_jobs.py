"""Evaluations with a manifest: created, and taken up by one gateway at a time. Time is the database's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, func, or_, select, update

from services.gateway.domain import ItemError
from services.gateway.evaluations.manifests import Format
from services.gateway.evaluations.model import Evaluation, EvaluationSettings, EvaluationSource, EvaluationState
from services.gateway.store import evaluation_rows as rows
from services.gateway.store.codec import decode, encode
from services.gateway.store.database import Database
from services.gateway.store.evaluations import Hold, OpenedStream, held_change, insert_evaluation
from services.gateway.store.leases import LEASE_SECONDS
from services.gateway.store.manifests import ManifestRepository
from services.gateway.store.notifications import JOBS_CHANNEL
from services.gateway.store.requests import RequestKey, RequestRepository
from services.gateway.store.tables import evaluation_items, evaluations

_OPEN = (EvaluationState.PENDING.value, EvaluationState.RUNNING.value)


@dataclass(frozen=True)
class Manifest:
    """A file in the object store; a format of None is told from the bytes."""

    parts: tuple[str, ...]
    format: Format | None = None


@dataclass(frozen=True)
class Job:
    """An evaluation that this gateway works on, until somebody else takes it."""

    opened: OpenedStream
    manifest: Manifest

    @property
    def hold(self) -> Hold:
        """The right to add results."""
        return self.opened.hold


class EvaluationJobRepository:
    """Creates jobs; claims, keeps and gives back the right to work on them."""

    def __init__(self, database: Database, manifests: ManifestRepository, requests: RequestRepository) -> None:
        self._database = database
        self._manifests = manifests
        self._requests = requests

    async def create(
        self,
        tenant_id: str,
        evaluation_id: str,
        settings: EvaluationSettings,
        display_name: str,
        manifest: Manifest,
        key: RequestKey | None,
    ) -> Evaluation:
        """Stores a job; for a repeated call, returns the one of the first as it was then.

        Raises:
            NotFoundError: MANIFEST_PART_NOT_FOUND; PROFILE_NOT_FOUND, for a personal metric.
            ConflictError: REQUEST_ID_REUSED.
        """
        async with self._database.transaction() as connection:
            if (stored := await self._requests.reserve(connection, key)) is not None:
                return decode(Evaluation, stored)
            await self._manifests.use(connection, tenant_id, manifest.parts, field="manifest.parts.content_hashes")
            kind = {"source": EvaluationSource.MANIFEST.value, "state": EvaluationState.PENDING.value}
            given = {"display_name": display_name, "manifest": encode(manifest)}
            await insert_evaluation(connection, tenant_id, evaluation_id, settings, **kind, **given)
            created = rows.evaluation(await rows.read_evaluation(connection, tenant_id, evaluation_id))
            await self._requests.answer(connection, key, encode(created))
            await connection.execute(select(func.pg_notify(JOBS_CHANNEL, "")))
            return created

    async def claim(self, owner: str, running: Collection[str], limit: int) -> list[Job]:
        """Takes jobs that nobody works on, the oldest first: never leased, expired, or ours but not in `running`."""
        free = or_(
            # Not the owner: a job that waits has none, and an end.
            evaluations.c.lease_expire_time.is_(None),
            evaluations.c.lease_expire_time < func.clock_timestamp(),
            and_(evaluations.c.lease_owner == owner, evaluations.c.id.not_in(list(running))),
        )
        is_job = (evaluations.c.source == EvaluationSource.MANIFEST.value, evaluations.c.state.in_(_OPEN))
        async with self._database.transaction() as connection:
            query = select(evaluations.c.id).where(*is_job, free).order_by(evaluations.c.create_time)
            found = (await connection.execute(query.limit(limit).with_for_update(skip_locked=True))).scalars().all()
            change = update(evaluations).where(evaluations.c.id.in_(found))
            change = change.values(
                state=EvaluationState.RUNNING.value,
                error=None,
                lease_owner=owner,
                lease_expire_time=func.clock_timestamp() + timedelta(seconds=LEASE_SECONDS),
                # Whoever worked on it before can store no more.
                lease_token=evaluations.c.lease_token + 1,
            )
            claimed = (await connection.execute(change.returning(*evaluations.c))).mappings().all()
            jobs = []
            for row in claimed:
                ahead = select(evaluation_items.c.item_offset).where(
                    *rows.is_item_of(row["tenant_id"], row["id"]),
                    evaluation_items.c.item_offset >= row["committed_offset"],
                )
                offsets = frozenset((await connection.execute(ahead)).scalars())
                hold = Hold(row["tenant_id"], row["id"], row["lease_token"])
                manifest = decode(Manifest, row["manifest"])
                jobs.append(Job(OpenedStream(rows.evaluation(row), hold, offsets), manifest))
            return jobs

    async def renew(self, owner: str) -> dict[str, int]:
        """Prolongs every lease of `owner`; tokens by id. A job that is missing was lost, or has ended."""
        query = update(evaluations).where(evaluations.c.lease_owner == owner, evaluations.c.state.in_(_OPEN))
        query = query.values(lease_expire_time=func.clock_timestamp() + timedelta(seconds=LEASE_SECONDS))
        async with self._database.transaction() as connection:
            renewed = await connection.execute(query.returning(evaluations.c.id, evaluations.c.lease_token))
            return {row.id: row.lease_token for row in renewed}

    async def release(self, owner: str) -> None:
        """Gives every lease of `owner` back, so that another gateway goes on at once."""
        query = update(evaluations).where(evaluations.c.lease_owner == owner)
        async with self._database.transaction() as connection:
            await connection.execute(query.values(lease_owner=None, lease_expire_time=None))
            await connection.execute(select(func.pg_notify(JOBS_CHANNEL, "")))

    async def counted(self, hold: Hold, total_count: int) -> None:
        """Stores how many items the manifest has; errors as EvaluationRepository.add_results."""
        async with self._database.transaction() as connection:
            await held_change(connection, hold, total_count=total_count)

    async def wait(self, hold: Hold, error: ItemError, *, seconds: float) -> None:
        """Gives a job back that cannot go on before so many seconds; errors as EvaluationRepository.add_results."""
        again = func.clock_timestamp() + timedelta(seconds=seconds)
        waiting = {"state": EvaluationState.PENDING.value, "error": encode(error)}
        async with self._database.transaction() as connection:
            await held_change(connection, hold, lease_owner=None, lease_expire_time=again, **waiting)

    async def pause(self, hold: Hold, *, seconds: float) -> None:
        """Gives a job back that goes on in so many seconds, anywhere; errors as EvaluationRepository.add_results."""
        again = func.clock_timestamp() + timedelta(seconds=seconds)
        async with self._database.transaction() as connection:
            await held_change(connection, hold, lease_owner=None, lease_expire_time=again)

    async def fail(self, hold: Hold, error: ItemError) -> None:
        """Ends a job that cannot go on; errors as EvaluationRepository.add_results."""
        async with self._database.transaction() as connection:
            await held_change(connection, hold, state=EvaluationState.FAILED.value, error=encode(error))
