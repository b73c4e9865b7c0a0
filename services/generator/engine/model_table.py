"""The models of a running engine: any thread may ask for one more or one less, the engine's thread makes the change."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future

from services.common.errors import LikenessError, Reason, UnavailableError
from services.generator.engine.pace import Pace
from services.generator.pipelines import LoadedModel


class ModelTable:
    """Models by id, and how fast each is."""

    def __init__(self, models: Mapping[str, LoadedModel]) -> None:
        self._models = dict(models)
        self.paces = {model_id: Pace() for model_id in models}
        """Of the models that are there."""
        # Guards what follows and, for writing, what precedes.
        self._lock = threading.Lock()
        self._coming: list[tuple[LoadedModel, Future[None]]] = []
        self._leaving: dict[str, Future[None]] = {}
        self._closed: LikenessError | None = None

    def __getitem__(self, model_id: str) -> LoadedModel:
        """A model that is there; also one that is about to leave, whose pictures are on their way.

        Raises:
            UnavailableError: MODEL_UNAVAILABLE; it is not there.
        """
        model = self._models.get(model_id)
        if model is None:
            raise _not_loaded(model_id)
        return model

    def check(self, model_id: str) -> None:
        """Checks that new pictures of a model may join.

        Raises:
            UnavailableError: MODEL_UNAVAILABLE; it is not there, or about to leave.
        """
        if model_id not in self._models or model_id in self._leaving:
            raise _not_loaded(model_id)

    def add(self, model: LoadedModel) -> Future[None]:
        """Asks for a model to be put in, under the id of its card. It is there when the future is done."""
        future = _future()
        with self._lock:
            if self._closed:
                future.set_exception(self._closed)
            else:
                self._coming.append((model, future))
        return future

    def remove(self, model_id: str) -> Future[None]:
        """Asks for a model to be taken out when its last picture has ended; no new ones are taken from now on.

        Nothing of the engine holds the model any more when the future is done.
        """
        future = _future()
        with self._lock:
            if self._closed:
                future.set_exception(self._closed)
            elif model_id in self._leaving:
                return self._leaving[model_id]
            else:
                self._leaving[model_id] = future
        return future

    # Below: the engine's thread only.

    def take_in(self) -> None:
        """Puts those in that have come."""
        with self._lock:
            coming, self._coming = self._coming, []
            for model, _ in coming:
                self.paces[model.card.id] = Pace()
                # A new dictionary each time: others read it meanwhile.
                self._models = self._models | {model.card.id: model}
        for _, future in coming:
            future.set_result(None)

    def leavers(self, busy: Collection[str]) -> dict[str, Future[None]]:
        """Takes those out that shall leave and have no pictures (`busy` have some); futures to set by id.

        The caller lets go of what it has of them, and then sets the futures.
        """
        with self._lock:
            left = {model_id: future for model_id, future in self._leaving.items() if model_id not in busy}
            self._leaving = {model_id: future for model_id, future in self._leaving.items() if model_id in busy}
            self._models = {model_id: model for model_id, model in self._models.items() if model_id not in left}
            for model_id in left:
                self.paces.pop(model_id, None)
        return left

    def close(self, error: LikenessError) -> None:
        """Lets everything that was asked for fail."""
        with self._lock:
            self._closed = error
            futures = [*self._leaving.values(), *(future for _, future in self._coming)]
            self._leaving, self._coming = {}, []
        for future in futures:
            future.set_exception(error)


def _future() -> Future[None]:
    future: Future[None] = Future()
    # Who waits for it may be cancelled, the change is not.
    future.set_running_or_notify_cancel()
    return future


def _not_loaded(model_id: str) -> UnavailableError:
    message = f"generator model {model_id!r} is not loaded now; try again"
    return UnavailableError(Reason.MODEL_UNAVAILABLE, message, retry_after_seconds=1.0)
