"""One stream of items: reads ahead within bounds, processes in batches, stores many results at once, answers what is
stored.

Reading, processing, storing and answering go on side by side. Each waits for the next: a caller who reads no answers is
read no further, and a store that is slow gathers more results for its next transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from typing import TypeVar

from services.common.errors import ConflictError, InvalidInputError, LikenessError, LimitError, Reason
from services.common.telemetry import counter
from services.gateway.evaluations.answers import Answer, Answers, Committed
from services.gateway.evaluations.arrivals import Arrival, Arrivals
from services.gateway.evaluations.ledger import Ledger
from services.gateway.evaluations.model import EvaluationItem, EvaluationState, ItemResult, Prompts
from services.gateway.evaluations.processing import MAX_BATCH, ItemProcessor, failed
from services.gateway.evaluations.window import Limits, Window
from services.gateway.store.evaluations import EvaluationRepository, OpenedStream

MAX_BATCHES = 2
"""Batches of pictures under way: one is scored while the next is looked up."""
FULL_BATCH = 64
"""Items from which on a batch begins beside another: fewer wait, since a batch costs more than an item."""
MAX_PROMPT_ITEMS = 8
"""Items with prompts under way."""
MAX_STORED = 512
"""Results in one transaction."""

T = TypeVar("T")
_items = counter("likeness_gateway_evaluation_items", "Items of evaluation streams, by how they ended.", ("result",))


class EvaluationStream:
    """A stream that goes on with an evaluation.

    Args:
        opened: The evaluation.
        limits: How far to read ahead.
        processor: What makes results.
        evaluations: Where they are stored.
        call_id: Id of the call in the logs of all services.

    Attributes:
        is_left: Whether `leave` was called: an end of `run` is not that of the evaluation.
    """

    def __init__(
        self,
        opened: OpenedStream,
        limits: Limits,
        processor: ItemProcessor,
        evaluations: EvaluationRepository,
        *,
        call_id: str,
    ) -> None:
        self.opened = opened
        self.limits = limits
        self.is_left = False
        self._processor = processor
        self._evaluations = evaluations
        self._call_id = call_id
        self._ledger = Ledger(opened.evaluation.committed_offset, opened.ahead)
        self._window = Window(limits)
        self._arrivals = Arrivals(self._ledger)
        self._pictures: deque[EvaluationItem] = deque()
        self._prompts: deque[EvaluationItem] = deque()
        self._known: deque[EvaluationItem] = deque()
        self._results: deque[ItemResult] = deque()
        self._answers = Answers()
        self._running = {"pictures": 0, "prompts": 0, "known": 0, "store": 0}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._read_all = False
        self._end: LikenessError | None = None
        self._failure: BaseException | None = None
        self._limit: LimitError | None = None
        self._is_over = False

    async def run(
        self, items: AsyncIterator[Sequence[EvaluationItem | ItemResult]]
    ) -> AsyncGenerator[list[Answer] | Committed, None]:
        """Answers until every item has one, or until it is left. Closing the iterator cancels what is under way.

        Args:
            items: Items in order, as many together as come together, and in place of those that cannot even be read
                their results.

        Raises:
            OutOfRangeError: OFFSET_GAP, an item came before those that precede it; those before the gap are answered.
            InvalidInputError: an offset is none.
            PreconditionError: EVALUATION_TAKEN_OVER or EVALUATION_NOT_OPEN.
            LimitError: QUOTA_EXCEEDED; what was under way is answered.
            UnavailableError: what items need does not answer, or the gateway shuts down; the caller goes on elsewhere.
            LikenessError: whatever the items raise; those before are answered.
        """
        self._start(partial(self._read, items))
        try:
            while True:
                while self._answers:
                    event = self._answers.take()
                    yield event
                    if not isinstance(event, Committed):
                        self._window.answered(len(event))
                if self._failure is not None:
                    raise self._failure
                if self._limit is not None and not (
                    self._running["prompts"] or self._running["store"] or self._results
                ):
                    raise self._limit
                if self.is_left:
                    if not any(self._running.values()) and not self._results:
                        return
                elif self._read_all and not self._arrivals and not self._known and not self._running["known"]:
                    break
                self._wake.clear()
                await self._wake.wait()
            if self._end is not None:
                raise self._end
            await self._evaluations.finish(self.opened.hold, EvaluationState.SUCCEEDED)
        finally:
            self._is_over = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def look(self) -> None:
        """Fails now rather than with the next result, if somebody else has the evaluation or it is open no more."""
        self._start(partial(self._evaluations.check_held, self.opened.hold))

    def end(self, reason: LikenessError) -> None:
        """Reads no further, answers what was read, and raises `reason`."""
        if not self._read_all:
            self._end, self._read_all = reason, True
            self._wake.set()

    def leave(self) -> None:
        """Begins nothing more: `run` ends when what is under way is answered, and the evaluation stays open."""
        self.is_left = self._read_all = True
        for waiting in (self._pictures, self._prompts, self._known):
            waiting.clear()
        self._wake.set()

    # Reading

    async def _read(self, items: AsyncIterator[Sequence[EvaluationItem | ItemResult]]) -> None:
        try:
            await self._window.room(self._is_far)
            async for together in items:
                for item in together:
                    if not self._window.has_room(self._is_far):
                        self._pump()
                        await self._window.room(self._is_far)
                    if self._read_all:
                        return
                    self._take(item)
                self._pump()
                await self._window.room(self._is_far)
        except LikenessError as error:
            self.end(error)
        self._read_all = True
        self._wake.set()

    def _is_far(self) -> bool:
        return self._arrivals.next_offset >= self._ledger.committed + self.limits.items

    def _take(self, item: EvaluationItem | ItemResult) -> None:
        arrival = self._arrivals.add(item)
        if isinstance(item, ItemResult):
            self._window.enter(0)
            self._results.append(item)
            return
        self._window.enter(item.size_bytes)
        match arrival:
            case Arrival.STORED:
                self._known.append(item)
            case Arrival.REPEATED:
                self._window.processed(item.size_bytes)
            case Arrival.REUSED:
                self._window.processed(item.size_bytes)
                self._answers.add(Answer(_reused(item)))
                self._wake.set()
            case Arrival.NEW if item.size_bytes > self.limits.bytes:
                self._processed([item], [failed(item, _too_large(item, self.limits))])
            case Arrival.NEW if isinstance(item.subject, Prompts):
                self._prompts.append(item)
            case Arrival.NEW:
                self._pictures.append(item)

    # Processing

    def _pump(self) -> None:
        """Starts whatever there is work and room for."""
        if self._failure is not None or self._is_over:
            return
        while self._pictures and (
            self._running["pictures"] == 0
            or (self._running["pictures"] < MAX_BATCHES and len(self._pictures) >= FULL_BATCH)
        ):
            self._start(partial(self._process, _taken(self._pictures, MAX_BATCH)), "pictures")
        while self._prompts and self._limit is None and self._running["prompts"] < MAX_PROMPT_ITEMS:
            self._start(partial(self._process, [self._prompts.popleft()]), "prompts")
        if self._known and not self._running["known"]:
            self._start(partial(self._replay, _taken(self._known, MAX_BATCH)), "known")
        if self._results and not self._running["store"]:
            self._start(partial(self._store, _taken(self._results, MAX_STORED)), "store")

    def _start(self, work: Callable[[], Coroutine[None, None, None]], kind: str = "") -> None:
        async def run() -> None:
            try:
                await work()
            except Exception as error:
                self._failure = self._failure or error
            finally:
                if kind:
                    self._running[kind] -= 1
            self._pump()
            self._wake.set()

        if kind:
            self._running[kind] += 1
        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _process(self, items: Sequence[EvaluationItem]) -> None:
        evaluation = self.opened.evaluation
        try:
            results = await self._processor.process(
                items, evaluation.settings, tenant_id=evaluation.tenant_id, call_id=self._call_id
            )
        except LimitError as error:
            # Others under way have their part of the limit: it would be lost if they were stopped.
            self._limit = error
            return
        self._processed(items, results)

    def _processed(self, items: Sequence[EvaluationItem], results: Sequence[ItemResult]) -> None:
        for item in items:
            self._window.processed(item.size_bytes)
        self._results.extend(results)

    async def _replay(self, items: Sequence[EvaluationItem]) -> None:
        """Answers items that have a stored result."""
        for item in items:
            self._window.processed(item.size_bytes)
        evaluation = self.opened.evaluation
        offsets = {item.offset for item in items}
        stored = await self._evaluations.find_results(evaluation.tenant_id, evaluation.id, offsets)
        if len(stored) < len(offsets):
            # Results go only with their evaluation.
            await self._evaluations.check_held(self.opened.hold)
        for item in items:
            result = stored[item.offset]
            same = result.digest == item.digest
            self._answers.add(Answer(result, replayed=True) if same else Answer(_reused(item)))
            _items.labels("replayed" if same else "reused").inc()

    # Storing

    async def _store(self, results: Sequence[ItemResult]) -> None:
        offsets = [one.offset for one in results]
        before = self._ledger.committed
        committed = self._ledger.committed_with(offsets)
        await self._evaluations.add_results(self.opened.hold, results, committed_offset=committed)
        self._ledger.add(offsets)
        self._window.moved()
        for result in results:
            self._answers.add(Answer(result))
            for _ in range(self._arrivals.stored(result.offset)):
                self._answers.add(Answer(result, replayed=True))
            _items.labels("failed" if result.error else "done").inc()
        if committed > before:
            self._answers.add(Committed(committed))


def _taken(waiting: deque[T], most: int) -> list[T]:
    return [waiting.popleft() for _ in range(min(len(waiting), most))]


def _reused(item: EvaluationItem) -> ItemResult:
    message = f"offset: {item.offset} came before with another item"
    return failed(item, ConflictError(Reason.OFFSET_REUSED, message, field="offset"))


def _too_large(item: EvaluationItem, limits: Limits) -> InvalidInputError:
    problem, allowed = f"has {item.size_bytes:,} bytes", f"at most {limits.bytes:,}, the stream's max_outstanding_bytes"
    return InvalidInputError("item", problem, allowed=allowed, reason=Reason.ITEM_TOO_LARGE)
