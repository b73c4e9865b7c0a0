"""Items on their way to the gateway: numbered, bounded, and kept until they have an answer."""

from __future__ import annotations

from likeness import _types as t
from likeness._call import build
from likeness._images import to_message
from likeness.gateway.v1 import evaluation_pb2
from likeness.gateway.v1 import evaluation_service_pb2 as pb

MAX_BYTES = 32 * 1024 * 1024
"""Most bytes of items without an answer."""
_REQUEST_ITEMS = 64
_REQUEST_BYTES = 1024 * 1024
"""Items travel together up to so many, and so many bytes."""


class Outgoing:
    """Items without an answer. Not safe for threads: whoever uses it from several locks it.

    Args:
        offset: Offset of the first item.
        max_items: Most items without an answer.
    """

    def __init__(self, offset: int, max_items: int) -> None:
        if max_items < 1:
            raise ValueError(f"max_outstanding is {max_items}; at least 1 is needed")
        self._next_offset = self._unsent_offset = offset
        self._max_items = max_items
        self._open: dict[int, evaluation_pb2.EvaluationItem] = {}
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether one more item may be added."""
        return len(self._open) < self._max_items and self._bytes < MAX_BYTES

    @property
    def has_unsent(self) -> bool:
        """Whether there is something to send on this connection."""
        return self._unsent_offset < self._next_offset

    @property
    def all_answered(self) -> bool:
        """Whether no item waits for its answer."""
        return not self._open

    def add(self, item: evaluation_pb2.EvaluationItem) -> None:
        """Takes the next item; its offset is given here."""
        item.offset = self._next_offset
        self._open[item.offset] = item
        self._bytes += item.ByteSize()
        self._next_offset += 1

    def connected(self) -> None:
        """A new connection begins: everything without an answer is to be sent (again)."""
        self._unsent_offset = min(self._open, default=self._next_offset)

    def take(self) -> pb.StreamEvaluationsRequest:
        """The next items to send on this connection."""
        request = pb.StreamEvaluationsRequest(items=pb.EvaluationItems())
        size = 0
        while self.has_unsent and len(request.items.items) < _REQUEST_ITEMS and size < _REQUEST_BYTES:
            item = self._open.get(self._unsent_offset)
            self._unsent_offset += 1
            if item is not None:
                request.items.items.append(item)
                size += item.ByteSize()
        return request

    def answered(self, offset: int) -> bool:
        """Notes an answer; False if the item had one before."""
        item = self._open.pop(offset, None)
        if item is None:
            return False
        self._bytes -= item.ByteSize()
        return True


def item_message(item: t.EvaluationItem) -> evaluation_pb2.EvaluationItem:
    """The message of an item, without its offset.

    Raises:
        OSError: A picture's file cannot be read.
        InvalidArgument: A value that its field cannot hold.
    """
    prompts = None
    if item.prompts:
        prompts = build(
            evaluation_pb2.EvaluationPrompts, prefix="item.prompts.", prompts=list(item.prompts), seed=item.seed
        )
    return build(
        evaluation_pb2.EvaluationItem,
        prefix="item.",
        item_id=item.item_id,
        group=item.group,
        system=item.system,
        target=None if item.target is None else to_message(item.target),
        text=item.text,
        image=None if item.image is None else to_message(item.image),
        prompts=prompts,
    )
