"""What callers can do with evaluations beside streaming items: manifests, progress, results, reports."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.settings import MEBIBYTE
from services.gateway.evaluations.manifests import Format
from services.gateway.evaluations.model import Evaluation, EvaluationState, ItemResult
from services.gateway.evaluations.reports import Figures, Report, chosen_baseline
from services.gateway.evaluations.streams import SettingsReader
from services.gateway.evaluations.validation import MAX_OFFSET, SettingsInput
from services.gateway.sessions import tokens, validation
from services.gateway.sessions.feed import Feed
from services.gateway.store.codec import decode
from services.gateway.store.evaluation_jobs import EvaluationJobRepository, Manifest
from services.gateway.store.evaluation_results import EvaluationResultRepository
from services.gateway.store.evaluations import EvaluationRepository
from services.gateway.store.manifests import ManifestRepository
from services.gateway.store.requests import RequestKey, RequestRepository

MAX_PART_BYTES = 60 * MEBIBYTE
MAX_PARTS = 1024

MAX_REPORTS = 2
"""Reports that one gateway makes at the same time: one of a million items takes a connection for some seconds. More
wait."""

_PAGE = 100
_OPEN = (EvaluationState.PENDING, EvaluationState.RUNNING)


@dataclass(frozen=True)
class ManifestInput:
    """A manifest as a caller names it: by its bytes, or by the hashes of parts that were uploaded."""

    data: bytes | None
    parts: Sequence[str] = ()
    format: Format | None = None


class EvaluationService:
    """Evaluations of this database, whichever gateway works on them."""

    def __init__(
        self,
        evaluations: EvaluationRepository,
        results: EvaluationResultRepository,
        jobs: EvaluationJobRepository,
        manifests: ManifestRepository,
        requests: RequestRepository,
        settings: SettingsReader,
        feed: Feed,
    ) -> None:
        self._evaluations = evaluations
        self._results = results
        self._jobs = jobs
        self._manifests = manifests
        self._requests = requests
        self._settings = settings
        self._feed = feed
        self._reports = asyncio.Semaphore(MAX_REPORTS)

    async def upload_part(self, tenant_id: str, data: bytes) -> str:
        """Stores a part of a manifest; returns its content hash."""
        _check_part("data", data)
        return await self._manifests.add_part(tenant_id, data)

    async def create(
        self, tenant_id: str, asked: SettingsInput, manifest: ManifestInput, display_name: str, key: RequestKey | None
    ) -> Evaluation:
        """Stores a job for any gateway to work on.

        Raises:
            InvalidInputError: a value is not allowed.
            NotFoundError: METRIC_NOT_FOUND, MODEL_NOT_FOUND or MANIFEST_PART_NOT_FOUND.
            ConflictError: REQUEST_ID_REUSED.
            UnavailableError: a store or backend does not answer.
        """
        if (answered := await self._requests.find(key)) is not None:
            return decode(Evaluation, answered)
        most = validation.MAX_DISPLAY_NAME_CHARACTERS
        validation.text("display_name", display_name, most=most, required=False)
        settings = await self._settings.read(asked)
        stored = Manifest(await self._parts(tenant_id, manifest), manifest.format)
        return await self._jobs.create(tenant_id, uuid.uuid4().hex, settings, display_name, stored, key)

    async def get(self, tenant_id: str, evaluation_id: str) -> Evaluation:
        """An evaluation; NotFoundError (EVALUATION_NOT_FOUND)."""
        return await self._evaluations.get(tenant_id, evaluation_id)

    async def list_page(self, tenant_id: str, page_size: int, page_token: str) -> tuple[list[Evaluation], str]:
        """Evaluations, newest first, and the token of the next page; empty on the last."""
        count = validation.page_size(page_size)
        page = await self._results.list_page(tenant_id, count + 1, tokens.decode_page_token(page_token))
        if len(page) <= count:
            return page, ""
        last = page[count - 1]
        return page[:count], tokens.encode_page_token(last.create_time, last.id)

    async def watch(
        self, tenant_id: str, evaluation_id: str, from_offset: int, *, progress_only: bool
    ) -> AsyncIterator[Evaluation | ItemResult]:
        """The evaluation first, whenever it has changed, and last; between them results in order, each once.

        Raises:
            InvalidInputError: from_offset.
            NotFoundError: EVALUATION_NOT_FOUND.
            UnavailableError: this gateway shuts down, or the database does not answer.
        """
        if not 0 <= from_offset <= MAX_OFFSET:
            raise InvalidInputError("from_offset", f"is {from_offset}", allowed=f"0 to {MAX_OFFSET:,}")
        shown: Evaluation | None = None
        limit = 0 if progress_only else _PAGE
        with self._feed.subscribed(evaluation_id) as subscription:
            while True:
                if self._feed.closed:
                    message = "the gateway is shutting down; watch again from the next offset"
                    raise UnavailableError(Reason.BACKEND_UNAVAILABLE, message, retry_after_seconds=1.0)
                evaluation, page = await self._results.results(tenant_id, evaluation_id, from_offset, limit)
                ended = evaluation.state not in _OPEN
                if shown is None or (evaluation != shown and not ended):
                    yield evaluation
                for result in page:
                    yield result
                    from_offset = result.offset + 1
                if not page and ended:
                    # Once more as the last event, unless nothing came since the first.
                    if shown is not None:
                        yield evaluation
                    return
                shown = evaluation
                if not ended and (not page or len(page) < limit):
                    await subscription.wait()

    async def cancel(self, tenant_id: str, evaluation_id: str, key: RequestKey | None = None) -> Evaluation:
        """Stops an evaluation; errors as EvaluationResultRepository.cancel."""
        return await self._results.cancel(tenant_id, evaluation_id, key)

    async def delete(self, tenant_id: str, evaluation_id: str, key: RequestKey | None = None) -> None:
        """Deletes an evaluation with its results; errors as EvaluationResultRepository.delete."""
        await self._results.delete(tenant_id, evaluation_id, key)

    async def report(self, tenant_id: str, evaluation_id: str, baseline: str) -> tuple[Evaluation, Report]:
        """An evaluation, and the figures of what has a result, both of one moment.

        Raises:
            NotFoundError: EVALUATION_NOT_FOUND.
            InvalidInputError: baseline is no system.
            PreconditionError: REPORT_TOO_LARGE.
        """
        async with self._reports, self._results.values(tenant_id, evaluation_id) as values:
            known = bool(baseline) and await values.has_system(baseline)
            chosen = chosen_baseline(baseline, await values.systems(), is_known=known)
            figures = Figures(values.evaluation.settings.metrics, chosen)
            async for page in values.pages():
                await asyncio.to_thread(figures.add, page)
            return values.evaluation, await asyncio.to_thread(figures.report)

    async def _parts(self, tenant_id: str, manifest: ManifestInput) -> tuple[str, ...]:
        if manifest.data is not None:
            _check_part("manifest.data", manifest.data)
            return (await self._manifests.add_part(tenant_id, manifest.data),)
        field = "manifest.parts.content_hashes"
        if not 1 <= len(manifest.parts) <= MAX_PARTS:
            raise InvalidInputError(field, f"has {len(manifest.parts):,} parts", allowed=f"1 to {MAX_PARTS:,}")
        return tuple(validation.content_hash(f"{field}[{index}]", part) for index, part in enumerate(manifest.parts))


def _check_part(field: str, data: bytes) -> None:
    if not 1 <= len(data) <= MAX_PART_BYTES:
        problem, allowed = f"has {len(data):,} bytes", f"1 byte to {MAX_PART_BYTES // MEBIBYTE} MiB"
        raise InvalidInputError(field, problem, allowed=allowed)
