"""Describes pictures by a captioner, off the event loop, each picture once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from services.common.errors import Reason, UnavailableError
from services.common.images import DecodedImage
from services.refiner.understanding.base import Captioner, Description, Understander
from services.refiner.understanding.tree_builder import TreeBuilder


class CaptionUnderstander:
    """Runs a blocking captioner in one thread: the model is not shared between calls."""

    def __init__(self, captioner: Captioner, builder: TreeBuilder) -> None:
        self._captioner = captioner
        self._builder = builder
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="captioner")

    async def describe(self, image: DecodedImage) -> Description:
        """Captions and tree of a picture.

        Raises:
            UnavailableError: the model answered with empty captions only.
        """
        loop = asyncio.get_running_loop()
        captions = await loop.run_in_executor(self._thread, self._captioner.weigh, image.rgb)
        if not captions:
            raise UnavailableError(Reason.MODEL_UNAVAILABLE, "the captioner gave no words for this picture")
        return self._builder.describe(captions)


class CachedUnderstander:
    """Keeps the latest descriptions by pixel hash; concurrent calls for one picture share one description."""

    def __init__(self, inner: Understander, capacity: int = 256) -> None:
        self._inner = inner
        self._capacity = capacity
        self._known: OrderedDict[str, asyncio.Task[Description]] = OrderedDict()

    async def describe(self, image: DecodedImage) -> Description:
        """The description of a picture, from memory if it was described before."""
        key = image.pixel_hash
        task = self._known.get(key)
        if task is None:
            # A task of its own: one caller's cancellation must not take the description from the others.
            task = asyncio.create_task(self._inner.describe(image))
            self._known[key] = task
            task.add_done_callback(lambda done: self._forget_failure(key, done))
            while len(self._known) > self._capacity:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return await asyncio.shield(task)

    def _forget_failure(self, key: str, task: asyncio.Task[Description]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and self._known.get(key) is task:
            del self._known[key]
