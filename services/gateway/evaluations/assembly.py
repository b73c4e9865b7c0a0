"""The evaluations of a gateway, put together: streams, jobs, and what callers ask of both."""

from __future__ import annotations

from services.common.profile import Defaults
from services.gateway.evaluations.jobs import JobRunner
from services.gateway.evaluations.pairs import PairScoring, ScoreCache
from services.gateway.evaluations.pictures import ItemPictures
from services.gateway.evaluations.processing import ItemProcessor
from services.gateway.evaluations.prompts import PromptPictures
from services.gateway.evaluations.service import EvaluationService
from services.gateway.evaluations.streams import EvaluationStreams, SettingsReader
from services.gateway.generation import ImageGeneration
from services.gateway.loops.retry import RetryPolicy
from services.gateway.ports import GeneratorPort, ObjectStore
from services.gateway.scorable import Scoring
from services.gateway.sessions.feed import Feed
from services.gateway.store.database import Database
from services.gateway.store.evaluation_jobs import EvaluationJobRepository
from services.gateway.store.evaluation_results import EvaluationResultRepository
from services.gateway.store.evaluations import EvaluationRepository
from services.gateway.store.images import ImageRepository
from services.gateway.store.manifests import ManifestRepository
from services.gateway.store.notifications import EVALUATIONS_CHANNEL, JOBS_CHANNEL, Notifications
from services.gateway.store.requests import RequestRepository


class Evaluations:
    """Everything about evaluations that a gateway runs."""

    def __init__(
        self,
        database: Database,
        images: ImageRepository,
        requests: RequestRepository,
        objects: ObjectStore,
        generator: GeneratorPort,
        generation: ImageGeneration,
        scoring: Scoring,
        scores: ScoreCache,
        defaults: Defaults,
        *,
        retry: RetryPolicy,
    ) -> None:
        self._feed = Feed()
        self.manifests = ManifestRepository(database, objects)
        evaluations = EvaluationRepository(database, requests)
        jobs = EvaluationJobRepository(database, self.manifests, requests)
        processor = ItemProcessor(
            ItemPictures(images, objects),
            PromptPictures(generation, retry=retry),
            PairScoring(scoring, scores, retry=retry),
        )
        settings = SettingsReader(generator, scoring, defaults)
        self.streams = EvaluationStreams(evaluations, processor, settings)
        self.jobs = JobRunner(jobs, self.manifests, evaluations, processor)
        results = EvaluationResultRepository(database, requests)
        self.service = EvaluationService(evaluations, results, jobs, self.manifests, requests, settings, self._feed)

    def start(self, notifications: Notifications) -> None:
        """Begins to work on jobs."""
        notifications.on(EVALUATIONS_CHANNEL, self._feed.wake)
        notifications.on(JOBS_CHANNEL, self._told)
        self.jobs.start()

    def drain(self) -> None:
        """Tells streams and watchers to go on elsewhere."""
        self._feed.close()
        self.streams.close()

    def _told(self, evaluation_id: str) -> None:
        self.jobs.told(evaluation_id)
        self.streams.told(evaluation_id)

    async def close(self) -> None:
        """Stops the jobs of this gateway where they are; another goes on with them."""
        await self.jobs.close()
