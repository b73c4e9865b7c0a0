"""One client a backend: the ports of the gateway over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from likeness.generator.v1 import generator_service_pb2 as generator_pb
from likeness.generator.v1.generator_service_pb2_grpc import GeneratorServiceStub
from likeness.refiner.v1 import refiner_service_pb2 as refiner_pb
from likeness.refiner.v1.refiner_service_pb2_grpc import RefinerServiceStub
from likeness.scorer.v1 import scorer_service_pb2 as scorer_pb
from likeness.scorer.v1.scorer_service_pb2_grpc import ScorerServiceStub
from services.common.errors import InternalError, Reason
from services.common.heads import Head
from services.gateway import batches, deadline, ports
from services.gateway.backends import converters, head_converters
from services.gateway.backends.calls import DEFAULT_TIMEOUT_SECONDS, Backend
from services.gateway.domain import Aspect, Feedback, ItemError, PromptAttempt, PromptEdit, ProposedPrompt, Tree
from services.gateway.rpc import type_converters as types

CHECK_TIMEOUT_SECONDS = 5.0


class GeneratorClient:
    """GeneratorPort over gRPC."""

    def __init__(self, address: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._backend = Backend("generator", address, timeout_seconds=timeout_seconds)
        self._stub = GeneratorServiceStub(self._backend.channel)

    async def generate(
        self,
        items: Sequence[ports.GenerationItem],
        *,
        model: str,
        request_id: str,
        timeout_seconds: float,
        priority: ports.Priority,
    ) -> AsyncIterator[ports.GenerationEvent]:
        """Streams events; every item ends with a GeneratedImage or a GenerationFailure."""
        open_items = {item.item_id for item in items}
        time_limit = deadline.capped(timeout_seconds)
        request = converters.generate_request(
            items, model=model, request_id=request_id, time_limit_seconds=time_limit, priority=priority
        )
        responses = self._backend.stream(
            self._stub.Generate, request, name="Generate", request_id=request_id, timeout_seconds=time_limit
        )
        async with aclosing(responses):  # type: ignore[type-var]
            async for response in responses:
                event = converters.generation_event(response)
                if isinstance(event, ports.GeneratedImage | ports.GenerationFailure):
                    open_items.discard(event.item_id)
                if event is not None:
                    yield event
        for item_id in sorted(open_items):
            error = ItemError(Reason.GENERATION_FAILED.value, "the generator ended without an answer for this picture")
            yield ports.GenerationFailure(item_id, error)

    async def list_models(self) -> list[ports.ModelInfo]:
        """Generator models, the default first."""
        return await self._list_models(retry=True)

    async def check(self) -> None:
        """Raises LikenessError if the generator does not answer in a few seconds."""
        await self._list_models(retry=False, timeout_seconds=CHECK_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Ends running calls and closes the connection."""
        await self._backend.close()

    async def _list_models(self, *, retry: bool, timeout_seconds: float | None = None) -> list[ports.ModelInfo]:
        response = await self._backend.unary(
            self._stub.ListModels,
            generator_pb.ListModelsRequest(),
            name="ListModels",
            timeout_seconds=timeout_seconds,
            retry=retry,
        )
        return [types.model_from_proto(model) for model in response.models]


class ScorerClient:
    """ScorerPort over gRPC."""

    def __init__(self, address: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._backend = Backend("scorer", address, timeout_seconds=timeout_seconds)
        self._stub = ScorerServiceStub(self._backend.channel)

    async def embed(self, model: str, images: Sequence[bytes], *, request_id: str) -> list[ports.EmbeddingVector]:
        """Embeddings in order."""
        request = converters.embed_request(model, images, request_id)
        response = await self._backend.unary(self._stub.Embed, request, name="Embed", request_id=request_id)
        if len(response.embeddings) != len(images):
            raise InternalError("the scorer did not answer for every picture")
        return [converters.embedding(message) for message in response.embeddings]

    async def score(
        self,
        *,
        target: ports.ScoreSubject | None,
        text: str,
        candidates: Sequence[ports.ScoreSubject],
        metrics: Sequence[str],
        request_id: str,
    ) -> list[ports.CandidateScores]:
        """Scores in the order of the candidates."""
        request = converters.score_request(
            target=target, text=text, candidates=candidates, metrics=metrics, request_id=request_id
        )
        response = await self._backend.unary(self._stub.Score, request, name="Score", request_id=request_id)
        if len(response.candidates) != len(candidates):
            raise InternalError("the scorer did not answer for every candidate")
        return [converters.candidate_scores(message) for message in response.candidates]

    async def compare(
        self, metric: str, target: bytes, candidates: Sequence[bytes], *, request_id: str
    ) -> list[ports.DifferenceVector]:
        """Difference vectors in order, in as many calls as the pictures need.

        Raises:
            NotFoundError: METRIC_NOT_FOUND, the metric has no difference vectors.
            InvalidInputError: target and a candidate are too large to be sent together.
        """
        vectors: list[ports.DifferenceVector] = []
        for pictures in batches.split(candidates, len, base_bytes=len(target)):
            request = head_converters.compare_request(metric, target, pictures, request_id)
            response = await self._backend.unary(self._stub.Compare, request, name="Compare", request_id=request_id)
            if len(response.differences) != len(pictures):
                raise InternalError("the scorer did not answer for every picture")
            vectors += [head_converters.difference(message) for message in response.differences]
        return vectors

    async def get_head(self, metric: str) -> Head:
        """Published head of a metric; NotFoundError(METRIC_NOT_FOUND) for a metric without."""
        request = scorer_pb.GetHeadRequest(metric=metric)
        response = await self._backend.unary(self._stub.GetHead, request, name="GetHead")
        return head_converters.head(response.head)

    async def fit_head(
        self,
        parent: Head,
        rankings: Sequence[ports.RankedDifferences],
        *,
        tastes: Sequence[Head] = (),
        request_id: str,
    ) -> ports.FitOutcome:
        """Learned head and what the fit found. One call, since one fit needs all rankings."""
        request = head_converters.fit_request(parent, rankings, tastes, request_id)
        response = await self._backend.unary(self._stub.FitHead, request, name="FitHead", request_id=request_id)
        return head_converters.fit_outcome(response)

    async def list_metrics(self) -> ports.MetricCatalog:
        """Metrics of the deployment."""
        return converters.metric_catalog(await self._list(retry=True))

    async def list_models(self) -> list[ports.ModelInfo]:
        """Embedding models of the deployment."""
        return [types.model_from_proto(model) for model in (await self._list(retry=True)).models]

    async def check(self) -> None:
        """Raises LikenessError if the scorer does not answer in a few seconds."""
        await self._list(retry=False, timeout_seconds=CHECK_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Ends running calls and closes the connection."""
        await self._backend.close()

    async def _list(self, *, retry: bool, timeout_seconds: float | None = None) -> scorer_pb.ListMetricsResponse:
        request = scorer_pb.ListMetricsRequest()
        return await self._backend.unary(
            self._stub.ListMetrics, request, name="ListMetrics", timeout_seconds=timeout_seconds, retry=retry
        )


class RefinerClient:
    """RefinerPort over gRPC."""

    def __init__(self, address: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._backend = Backend("refiner", address, timeout_seconds=timeout_seconds)
        self._stub = RefinerServiceStub(self._backend.channel)

    async def understand(self, strategy: str, image: bytes, *, request_id: str) -> tuple[Tree, str]:
        """Tree and first prompt."""
        request = refiner_pb.UnderstandRequest(
            request_id=request_id[:64], strategy=strategy, image=types.image_to_proto(image)
        )
        response = await self._backend.unary(self._stub.Understand, request, name="Understand", request_id=request_id)
        return types.tree_from_proto(response.tree), response.prompt

    async def propose(
        self,
        strategy: str,
        *,
        target: bytes,
        tree: Tree | None,
        base_prompt: str,
        round_number: int,
        prompt_count: int,
        aspect: Aspect | None,
        history: Sequence[PromptAttempt],
        seed: int,
        request_id: str,
    ) -> list[ProposedPrompt]:
        """Prompts of a round, at most prompt_count."""
        request = converters.propose_request(
            strategy,
            target=target,
            tree=tree,
            base_prompt=base_prompt,
            round_number=round_number,
            prompt_count=prompt_count,
            aspect=aspect,
            history=history,
            seed=seed,
            request_id=request_id,
        )
        response = await self._backend.unary(self._stub.Propose, request, name="Propose", request_id=request_id)
        return [converters.proposed_prompt(prompt) for prompt in response.prompts[:prompt_count]]

    async def critique(
        self,
        strategy: str,
        *,
        target: bytes,
        best: bytes,
        best_prompt: str,
        tree: Tree | None,
        aspect: Aspect | None,
        round_number: int,
        request_id: str,
    ) -> tuple[Feedback, float]:
        """Feedback and the critic's agreement, 0..1."""
        request = converters.critique_request(
            strategy,
            target=target,
            best=best,
            best_prompt=best_prompt,
            tree=tree,
            aspect=aspect,
            round_number=round_number,
            request_id=request_id,
        )
        response = await self._backend.unary(self._stub.Critique, request, name="Critique", request_id=request_id)
        return types.feedback_from_proto(response.feedback), response.agreement

    async def revise(
        self, strategy: str, prompt: str, feedback: Feedback, *, request_id: str
    ) -> tuple[str, tuple[PromptEdit, ...]]:
        """Revised prompt and what changed."""
        request = refiner_pb.ReviseRequest(
            request_id=request_id[:64], strategy=strategy, prompt=prompt, feedback=types.feedback_to_proto(feedback)
        )
        response = await self._backend.unary(self._stub.Revise, request, name="Revise", request_id=request_id)
        return response.prompt, tuple(types.edit_from_proto(edit) for edit in response.edits)

    async def list_strategies(self) -> list[ports.StrategyInfo]:
        """Strategies of the deployment."""
        return [converters.strategy_info(strategy) for strategy in (await self._list(retry=True)).strategies]

    async def list_models(self) -> list[ports.ModelInfo]:
        """Language and captioning models."""
        return [types.model_from_proto(model) for model in (await self._list(retry=True)).models]

    async def check(self) -> None:
        """Raises LikenessError if the refiner does not answer in a few seconds."""
        await self._list(retry=False, timeout_seconds=CHECK_TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Ends running calls and closes the connection."""
        await self._backend.close()

    async def _list(self, *, retry: bool, timeout_seconds: float | None = None) -> refiner_pb.ListStrategiesResponse:
        request = refiner_pb.ListStrategiesRequest()
        return await self._backend.unary(
            self._stub.ListStrategies, request, name="ListStrategies", timeout_seconds=timeout_seconds, retry=retry
        )
