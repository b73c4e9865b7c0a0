"""The calls of evaluations, which both clients inherit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Unpack

from likeness import _evaluation_calls as calls
from likeness import _types as t
from likeness._call import Call
from likeness._calling import AsyncCalling, Calling
from likeness._following import Reconnection
from likeness._options import EvaluationOptions


class EvaluationMethods(Calling):
    """Evaluations for the sync client."""

    def create_evaluation(
        self, manifest: calls.Manifest, *, request_id: str = "", **options: Unpack[EvaluationOptions]
    ) -> t.Evaluation:
        """Uploads a manifest and returns; a gateway evaluates its items, whether or not anybody waits.

            evaluation = client.create_evaluation("prompts.jsonl", metrics=["clip-text"], images=4)
            for update in client.watch_evaluation(evaluation, progress_only=True):
                print(update.done_count, "of", update.total_count)

        Args:
            manifest: JSON lines, Parquet or WebDataset tar, as a path or as bytes (docs/evaluations.md).
            request_id: UUID; a second call with it returns the evaluation of the first. Made up if left out.
            options: Those of `EvaluationOptions`.
        """
        hashes = [self._run(calls.upload_part(part)) for part in calls.parts(manifest)]
        return self._run(calls.create_evaluation(hashes, options, request_id=request_id))

    def get_evaluation(self, evaluation: t.Evaluation | str) -> t.Evaluation:
        """An evaluation as it stands."""
        return self._run(calls.get_evaluation(evaluation))

    def list_evaluations(self, *, page_size: int = 0) -> Iterator[t.Evaluation]:
        """All evaluations, newest first; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: calls.list_evaluations(page_size, token))

    def watch_evaluation(
        self, evaluation: t.Evaluation | str, *, from_offset: int = 0, progress_only: bool = False
    ) -> Iterator[t.Evaluation | t.EvaluationResult]:
        """Yields the evaluation whenever it has changed, and its results by offset, each once; ends when it is over.

        Reconnects by itself when the gateway goes away for a while.

        Args:
            evaluation: The evaluation.
            from_offset: Offset of the first result.
            progress_only: True leaves the results out.
        """
        connection, offset = Reconnection(self._retry), from_offset

        def next_call() -> Call[t.Evaluation | t.EvaluationResult]:
            return calls.watch_evaluation(evaluation, offset, progress_only=progress_only)

        for update in self._reopened(next_call, connection):
            connection.heard()
            if isinstance(update, t.EvaluationResult):
                offset = update.offset + 1
            yield update

    def cancel_evaluation(self, evaluation: t.Evaluation | str) -> t.Evaluation:
        """Stops an evaluation; what has a result keeps it."""
        return self._run(calls.cancel_evaluation(evaluation))

    def delete_evaluation(self, evaluation: t.Evaluation | str) -> None:
        """Deletes an evaluation with its results; one that is not over is stopped."""
        self._run(calls.delete_evaluation(evaluation))

    def evaluation_report(self, evaluation: t.Evaluation | str, *, baseline: str = "") -> t.EvaluationReport:
        """Means by group and system, and each system against a baseline; the first system by name if left out."""
        return self._run(calls.evaluation_report(evaluation, baseline))


class AsyncEvaluationMethods(AsyncCalling):
    """Evaluations for the async client."""

    async def create_evaluation(
        self, manifest: calls.Manifest, *, request_id: str = "", **options: Unpack[EvaluationOptions]
    ) -> t.Evaluation:
        """As `Client.create_evaluation`."""
        hashes = []
        parts = calls.parts(manifest)
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            hashes.append(await self._run(calls.upload_part(part)))
        return await self._run(calls.create_evaluation(hashes, options, request_id=request_id))

    async def get_evaluation(self, evaluation: t.Evaluation | str) -> t.Evaluation:
        """An evaluation as it stands."""
        return await self._run(calls.get_evaluation(evaluation))

    def list_evaluations(self, *, page_size: int = 0) -> AsyncIterator[t.Evaluation]:
        """All evaluations, newest first; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: calls.list_evaluations(page_size, token))

    async def watch_evaluation(
        self, evaluation: t.Evaluation | str, *, from_offset: int = 0, progress_only: bool = False
    ) -> AsyncIterator[t.Evaluation | t.EvaluationResult]:
        """As `Client.watch_evaluation`."""
        connection, offset = Reconnection(self._retry), from_offset

        def next_call() -> Call[t.Evaluation | t.EvaluationResult]:
            return calls.watch_evaluation(evaluation, offset, progress_only=progress_only)

        async with aclosing(self._reopened(next_call, connection)) as updates:
            async for update in updates:
                connection.heard()
                if isinstance(update, t.EvaluationResult):
                    offset = update.offset + 1
                yield update

    async def cancel_evaluation(self, evaluation: t.Evaluation | str) -> t.Evaluation:
        """Stops an evaluation; what has a result keeps it."""
        return await self._run(calls.cancel_evaluation(evaluation))

    async def delete_evaluation(self, evaluation: t.Evaluation | str) -> None:
        """Deletes an evaluation with its results; one that is not over is stopped."""
        await self._run(calls.delete_evaluation(evaluation))

    async def evaluation_report(self, evaluation: t.Evaluation | str, *, baseline: str = "") -> t.EvaluationReport:
        """Means by group and system, and each system against a baseline; the first system by name if left out."""
        return await self._run(calls.evaluation_report(evaluation, baseline))
