"""The streams of this gateway: opens them, and ends them when it goes away."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.common.errors import InvalidInputError, Reason, UnavailableError
from services.common.profile import Defaults
from services.common.telemetry import gauge
from services.gateway.evaluations import validation
from services.gateway.evaluations.model import EvaluationSettings
from services.gateway.evaluations.processing import ItemProcessor
from services.gateway.evaluations.stream import EvaluationStream
from services.gateway.evaluations.window import Limits
from services.gateway.ports import GeneratorPort
from services.gateway.scorable import Scoring
from services.gateway.sessions.validation import MAX_DISPLAY_NAME_CHARACTERS
from services.gateway.sessions.validation import text as checked_text
from services.gateway.store.evaluations import EvaluationRepository
from services.gateway.store.requests import RequestKey

_open = gauge("likeness_gateway_evaluation_streams", "Evaluation streams that this gateway has open.")


@dataclass(frozen=True)
class StreamInput:
    """What a stream begins with; empty, 0 or None means the default."""

    evaluation: str = ""
    settings: validation.SettingsInput | None = None
    display_name: str = ""
    max_outstanding_items: int = 0
    max_outstanding_bytes: int = 0


@dataclass(frozen=True)
class SettingsReader:
    """Fills in settings by what the deployment offers."""

    generator: GeneratorPort
    scoring: Scoring
    defaults: Defaults

    async def read(self, asked: validation.SettingsInput) -> EvaluationSettings:
        """Settings with every default filled in; errors as `validation.evaluation_settings`."""
        models = await self.generator.list_models() if asked.generation is not None else []
        return validation.evaluation_settings(asked, self.defaults, await self.scoring.metrics(), models)


class EvaluationStreams:
    """Opens streams on this gateway."""

    def __init__(self, evaluations: EvaluationRepository, processor: ItemProcessor, settings: SettingsReader) -> None:
        self._evaluations = evaluations
        self._processor = processor
        self._settings = settings
        self._streams: set[EvaluationStream] = set()
        self._closing = False

    @asynccontextmanager
    async def opened(
        self, tenant_id: str, asked: StreamInput, key: RequestKey | None, *, call_id: str
    ) -> AsyncIterator[EvaluationStream]:
        """A stream for as long as the block runs, on a new evaluation or on one that is gone on with.

        Raises:
            InvalidInputError: a value is not allowed, or other settings than those of the evaluation.
            NotFoundError: EVALUATION_NOT_FOUND, METRIC_NOT_FOUND, PROFILE_NOT_FOUND or MODEL_NOT_FOUND.
            PreconditionError: EVALUATION_NOT_OPEN.
            ConflictError: REQUEST_ID_REUSED.
            UnavailableError: the gateway shuts down, or a store or backend does not answer.
        """
        if self._closing:
            raise _shutting_down()
        limits = Limits.asked(asked.max_outstanding_items, asked.max_outstanding_bytes)
        checked_text("config.display_name", asked.display_name, most=MAX_DISPLAY_NAME_CHARACTERS, required=False)
        wanted = None
        if asked.settings is not None or not asked.evaluation:
            wanted = await self._settings.read(asked.settings or validation.SettingsInput())
        if asked.evaluation:
            evaluation_id = validation.evaluation_id("config.evaluation", asked.evaluation)
            # Before it is taken from the stream that may have it.
            await self._check_settings(tenant_id, evaluation_id, wanted)
        else:
            assert wanted is not None
            evaluation_id = await self._evaluations.create_stream(
                tenant_id, uuid.uuid4().hex, wanted, asked.display_name, key
            )
        opened = await self._evaluations.open_stream(tenant_id, evaluation_id, field="config.evaluation")
        stream = EvaluationStream(opened, limits, self._processor, self._evaluations, call_id=call_id)
        self._streams.add(stream)
        _open.set(len(self._streams))
        try:
            yield stream
        finally:
            self._streams.discard(stream)
            _open.set(len(self._streams))

    def told(self, evaluation_id: str) -> None:
        """Ends the streams that lost this evaluation, also idle ones; with an empty id, those that lost theirs."""
        for stream in self._streams:
            if evaluation_id in ("", stream.opened.evaluation.id):
                stream.look()

    def close(self) -> None:
        """Reads no further: what was read is answered, and callers are told to go on elsewhere."""
        self._closing = True
        for stream in self._streams:
            stream.end(_shutting_down())

    async def _check_settings(self, tenant_id: str, evaluation_id: str, wanted: EvaluationSettings | None) -> None:
        evaluation = await self._evaluations.get(tenant_id, evaluation_id, field="config.evaluation")
        if wanted is not None and wanted != evaluation.settings:
            problem = "are other ones than the evaluation has"
            raise InvalidInputError("config.settings", problem, allowed="unset, or those of the evaluation")


def _shutting_down() -> UnavailableError:
    message = "this gateway shuts down; go on with the evaluation on another"
    return UnavailableError(Reason.BACKEND_UNAVAILABLE, message, retry_after_seconds=0.1)
