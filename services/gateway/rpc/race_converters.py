"""gateway.v1 races <-> the gateway's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from likeness.gateway.v1 import race_pb2, race_service_pb2
from services.gateway.races import model
from services.gateway.races.tabling import RaceView
from services.gateway.races.validation import EntrantInput, RaceInput, TargetInput
from services.gateway.rpc import converters
from services.gateway.rpc import type_converters as types

if TYPE_CHECKING:
    from services.common.statistics import MeanInterval
    from services.gateway.races.table import Curve, Duel, EntrantRow

_STATES = {
    model.RaceState.RUNNING: race_pb2.Race.STATE_RUNNING,
    model.RaceState.FINISHED: race_pb2.Race.STATE_FINISHED,
    model.RaceState.CANCELLED: race_pb2.Race.STATE_CANCELLED,
}

_ENTRY_STATES = {
    model.EntryState.RUNNING: race_pb2.RaceEntry.STATE_RUNNING,
    model.EntryState.SUCCEEDED: race_pb2.RaceEntry.STATE_SUCCEEDED,
    model.EntryState.CANCELLED: race_pb2.RaceEntry.STATE_CANCELLED,
    model.EntryState.FAILED: race_pb2.RaceEntry.STATE_FAILED,
    model.EntryState.DELETED: race_pb2.RaceEntry.STATE_DELETED,
}


def race_from_proto(request: race_service_pb2.CreateRaceRequest) -> RaceInput:
    """A race as asked for."""
    return RaceInput(
        targets=tuple(_target_from_proto(one) for one in request.targets),
        entrants=tuple(_entrant_from_proto(one) for one in request.entrants),
        metrics=tuple(request.metrics),
        seed=request.seed,
        display_name=request.display_name,
    )


def race_to_proto(race: model.Race) -> race_pb2.Race:
    """A race."""
    return race_pb2.Race(
        name=f"races/{race.id}",
        display_name=race.display_name,
        targets=[
            race_pb2.RaceTarget(image=types.image_info_to_proto(one.image), display_name=one.display_name)
            for one in race.targets
        ],
        entrants=[_entrant_to_proto(one) for one in race.entrants],
        metrics=race.metrics,
        seed=race.seed,
        state=_STATES[race.state],
        progress=_progress_of(race),
        create_time=converters.time_to_proto(race.create_time),
        end_time=converters.time_to_proto(race.end_time) if race.end_time else None,
    )


def table_to_proto(view: RaceView) -> race_pb2.RaceTable:
    """The table of a race."""
    progress = _progress_of(view.race)
    return race_pb2.RaceTable(
        rows=[_row_to_proto(row, one) for row, one in zip(view.table.rows, progress, strict=True)],
        duels=[_duel_to_proto(one) for one in view.table.duels],
        tie_epsilon=view.table.tie_epsilon,
    )


def entry_to_proto(entry: model.Entry) -> race_pb2.RaceEntry:
    """One entrant on one target."""
    best = entry.best
    return race_pb2.RaceEntry(
        target_index=entry.target_index,
        entrant_index=entry.entrant_index,
        session=converters.session_name(entry.session_id) if entry.session_id else "",
        state=_ENTRY_STATES[entry.state],
        stop_reason=converters.stop_reason_to_proto(entry.stop_reason),
        error=types.item_error_to_proto(entry.error) if entry.error else None,
        round_count=len(entry.rounds),
        image_count=entry.image_count,
        seconds=entry.seconds,
        best_candidate_id=best.candidate_id if best else "",
        best_content_hash=best.content_hash if best else "",
        scores=[
            race_pb2.RaceScore(metric=metric, raw=one.raw, normalized=one.normalized)
            for metric, one in (best.judgements.items() if best else ())
        ],
    )


def _target_from_proto(target: race_service_pb2.RaceTargetInput) -> TargetInput:
    given = target.image.WhichOneof("content") is not None
    return TargetInput(types.picture_from_proto(target.image) if given else None, target.display_name)


def _entrant_from_proto(entrant: race_pb2.RaceEntrant) -> EntrantInput:
    return EntrantInput(
        display_name=entrant.display_name,
        loop=converters.loop_from_proto(entrant.loop),
        selection_metrics=tuple(entrant.selection_metrics),
        generator_model=entrant.generator_model,
        steps=entrant.steps if entrant.HasField("steps") else None,
        guidance_scale=entrant.guidance_scale if entrant.HasField("guidance_scale") else None,
    )


def _entrant_to_proto(entrant: model.Entrant) -> race_pb2.RaceEntrant:
    return race_pb2.RaceEntrant(
        display_name=entrant.display_name,
        loop=converters.loop_to_proto(entrant.loop),
        selection_metrics=entrant.settings.selection_metrics,
        generator_model=entrant.settings.generator_model,
        steps=entrant.settings.steps,
        guidance_scale=entrant.settings.guidance_scale,
    )


def _progress_of(race: model.Race) -> Sequence[race_pb2.RaceProgress]:
    return [
        race_pb2.RaceProgress(
            running_count=one.running,
            succeeded_count=one.succeeded,
            failed_count=one.failed,
            cancelled_count=one.cancelled,
            deleted_count=one.deleted,
            finished_round_count=one.finished_rounds,
            image_count=one.images,
            max_image_count=len(race.targets) * entrant.loop.image_budget,
        )
        for one, entrant in zip(race.progress, race.entrants, strict=True)
    ]


def _row_to_proto(row: EntrantRow, progress: race_pb2.RaceProgress) -> race_pb2.RaceEntrantRow:
    return race_pb2.RaceEntrantRow(
        entrant=row.entrant,
        progress=progress,
        curves=[_curve_to_proto(one) for one in row.curves],
        images=_mean_to_proto(row.images),
        seconds=_mean_to_proto(row.seconds),
        stops=[
            race_pb2.RaceStopCount(reason=converters.stop_reason_to_proto(reason), count=count)
            for reason, count in row.stops
        ],
        failures=[race_pb2.RaceFailureCount(reason=reason, count=count) for reason, count in row.failures],
    )


def _curve_to_proto(curve: Curve) -> race_pb2.RaceCurve:
    # A round without a mean is an empty message: a list has no holes.
    rounds = [_mean_to_proto(one) or race_pb2.RaceMean() for one in curve.rounds]
    return race_pb2.RaceCurve(metric=curve.metric, rounds=rounds, raw_mean=curve.raw_mean)


def _duel_to_proto(duel: Duel) -> race_pb2.RaceDuel:
    found = duel.comparison
    if found is None:
        return race_pb2.RaceDuel(metric=duel.metric, first=duel.first, second=duel.second)
    return race_pb2.RaceDuel(
        metric=duel.metric,
        first=duel.first,
        second=duel.second,
        difference=_mean_to_proto(found.difference),
        t_test_p=found.t_p,
        wilcoxon_p=found.wilcoxon_p,
        win_count=found.wins,
        tie_count=found.ties,
        loss_count=found.losses,
    )


def _mean_to_proto(mean: MeanInterval | None) -> race_pb2.RaceMean | None:
    return race_pb2.RaceMean(mean=mean.mean, low=mean.low, high=mean.high, count=mean.n) if mean else None
