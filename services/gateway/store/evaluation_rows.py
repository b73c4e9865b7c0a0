"""Rows of evaluations and of their items <-> domain values."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from sqlalchemy import ColumnElement, RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from services.common.errors import NotFoundError, PreconditionError, Reason
from services.gateway.domain import ItemError, Score
from services.gateway.evaluations.model import (
    EvaluatedImage,
    Evaluation,
    EvaluationItemError,
    EvaluationSettings,
    EvaluationSource,
    EvaluationState,
    ItemResult,
)
from services.gateway.store.codec import Json, decode, encode
from services.gateway.store.tables import evaluation_items, evaluations

ITEM_COLUMNS = (
    "evaluation_id",
    "item_offset",
    "tenant_id",
    "item_id",
    "group_name",
    "system",
    "digest",
    "state",
    "images",
    "error",
)
"""In the order of `item_record`."""


def evaluation(row: RowMapping) -> Evaluation:
    """Evaluation from its row. One column says why it failed, and what one that is pending waits for."""
    why = decode(ItemError, row["error"]) if row["error"] else None
    pending = row["state"] == EvaluationState.PENDING.value
    return Evaluation(
        id=row["id"],
        tenant_id=row["tenant_id"],
        display_name=row["display_name"],
        settings=decode(EvaluationSettings, row["settings"]),
        source=EvaluationSource(row["source"]),
        state=EvaluationState(row["state"]),
        create_time=row["create_time"],
        update_time=row["update_time"],
        committed_offset=row["committed_offset"],
        done_count=row["done_count"],
        failed_count=row["failed_count"],
        total_count=row["total_count"],
        error=None if pending else why,
        wait_reason=why if pending else None,
    )


def item_record(evaluation_id: str, tenant_id: str, result: ItemResult) -> tuple[object, ...]:
    """A result as COPY takes it."""
    return (
        evaluation_id,
        result.offset,
        tenant_id,
        result.item_id,
        result.group,
        result.system,
        result.digest,
        "done" if result.error is None else "failed",
        json.dumps([_image(one) for one in result.images]) if result.error is None else None,
        None if result.error is None else json.dumps(encode(result.error)),
    )


def _image(image: EvaluatedImage) -> Json:
    return {
        "scores": [_score(score) for score in image.scores],
        "error": encode(image.error),
        "record": encode(image.record),
        "content_hash": image.content_hash,
        "text_truncated": image.text_truncated,
    }


def _score(score: Score) -> Json:
    # Written out: there are thousands a second, and `encode` looks at the type of each value.
    return {
        "metric": score.metric,
        "revision": score.revision,
        "raw": score.raw if isfinite(score.raw) else repr(score.raw),
        "normalized": score.normalized,
        "higher_is_better": score.higher_is_better,
        "minimum": score.minimum,
        "maximum": score.maximum,
        "error": encode(score.error),
        "cells": score.cells,
        "text_truncated": score.text_truncated,
    }


def item_result(row: RowMapping) -> ItemResult:
    """Result of an item from its row."""
    return ItemResult(
        offset=row["item_offset"],
        item_id=row["item_id"],
        group=row["group_name"],
        system=row["system"],
        digest=row["digest"],
        images=tuple(decode(EvaluatedImage, one) for one in row["images"] or ()),
        error=decode(EvaluationItemError, row["error"]) if row["error"] else None,
    )


def is_evaluation(tenant_id: str, evaluation_id: str) -> tuple[ColumnElement[bool], ...]:
    """Conditions on a tenant's evaluation."""
    return evaluations.c.tenant_id == tenant_id, evaluations.c.id == evaluation_id


def is_item_of(tenant_id: str, evaluation_id: str) -> tuple[ColumnElement[bool], ...]:
    """Conditions on items of a tenant's evaluation."""
    return evaluation_items.c.tenant_id == tenant_id, evaluation_items.c.evaluation_id == evaluation_id


async def read_evaluation(
    connection: AsyncConnection, tenant_id: str, evaluation_id: str, *, field: str = "name", lock: bool = False
) -> RowMapping:
    """Row of a tenant's evaluation. Raises NotFoundError (EVALUATION_NOT_FOUND), blamed on `field`."""
    query: Any = evaluations.select().where(*is_evaluation(tenant_id, evaluation_id))
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    if row is None:
        reason = Reason.EVALUATION_NOT_FOUND
        raise NotFoundError(reason, "evaluation", f"evaluations/{evaluation_id}", field=field)
    return row


def not_open(state: str, *, field: str) -> PreconditionError:
    """An evaluation that nothing can be added to."""
    return PreconditionError(Reason.EVALUATION_NOT_OPEN, f"{field}: the evaluation is {state}", field=field)
