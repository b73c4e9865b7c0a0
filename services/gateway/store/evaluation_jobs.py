"""Evaluations with a manifest: created, and taken up by one gateway at a time. Time is the database's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, update

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
_IS_JOB = (evaluations.c.source == EvaluationSource.MANIFEST.value, evaluations.c.state.in_(_OPEN))


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
        """Takes jobs that nobody works on: never leased, expired, or ours but not in `running`.

        One after the other, each of the tenant with the fewest that are worked on; of such tenants' the oldest.
        """
        free = or_(
            # Not the owner: a job that waits has none, and an end.
            evaluations.c.lease_expire_time.is_(None),
            evaluations.c.lease_expire_time < func.clock_timestamp(),
            and_(evaluations.c.lease_owner == owner, evaluations.c.id.not_in(list(running))),
        )
        place = func.row_number().over(partition_by=(evaluations.c.tenant_id, free), order_by=evaluations.c.create_time)
        turn = (_running_of_tenant(~free) + place).label("turn")
        turns = select(evaluations.c.id, turn).where(*_IS_JOB).subquery()
        query = select(evaluations.c.id).join(turns, turns.c.id == evaluations.c.id)
        # Again, since they may have changed until they are locked.
        query = query.where(*_IS_JOB, free).order_by(turns.c.turn, evaluations.c.create_time).limit(limit)
        async with self._database.transaction() as connection:
            locked = query.with_for_update(of=evaluations, skip_locked=True)
            found = (await connection.execute(locked)).scalars().all()
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

    async def crowding(self, *, waiting_seconds: float) -> str | None:
        """Id of a job that is to make room; None if each tenant that waits has its share.

        It is the newest that is worked on of the tenant with the most, which has two more than a tenant that waits:
        of one more, room would only make the two change places. All gateways are told the same job.

        Args:
            waiting_seconds: How long a job waits before others make room for it: a gateway may have room.
        """
        now = func.clock_timestamp()
        runs = evaluations.c.lease_expire_time >= now
        since = func.coalesce(evaluations.c.lease_expire_time, evaluations.c.create_time)
        jobs = (
            select(
                evaluations.c.id,
                evaluations.c.create_time,
                and_(evaluations.c.lease_owner.is_not(None), runs).label("runs"),
                (since < now - timedelta(seconds=waiting_seconds)).label("waits"),
                _running_of_tenant(runs).label("running"),
            )
            .where(*_IS_JOB)
            .cte("jobs")
        )
        fewest = select(func.min(jobs.c.running)).where(jobs.c.waits).scalar_subquery()
        query = select(jobs.c.id).where(jobs.c.runs, jobs.c.running >= fewest + 2)
        query = query.order_by(jobs.c.running.desc(), jobs.c.create_time.desc()).limit(1)
        async with self._database.query() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

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

    async def wait(self, hold: Hold, error: ItemError | None, *, seconds: float) -> None:
        """Gives a job back that is pending, for so many seconds at least; errors as EvaluationRepository.add_results.

        Args:
            hold: The right to work on it.
            error: What it waits for; None if only for its turn.
            seconds: How long nobody takes it up.
        """
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


def _running_of_tenant(is_held: ColumnElement[bool]) -> ColumnElement[int]:
    """How many jobs of a row's tenant are worked on. What waits for a time has a lease's end too, but no owner."""
    works = and_(evaluations.c.lease_owner.is_not(None), is_held)
    return func.count().filter(works).over(partition_by=evaluations.c.tenant_id)
