"""From the messages of races to the client's types."""

from __future__ import annotations

from likeness import _types as t
from likeness._image_convert import image_info, item_error
from likeness._reading import HasPresence, enum, optional, time
from likeness._session_convert import loop_settings, stop_reason
from likeness.gateway.v1 import race_pb2, race_service_pb2


def race(item: race_pb2.Race) -> t.Race:
    return t.Race(
        name=item.name,
        display_name=item.display_name,
        targets=tuple(t.RaceTarget(image_info(one.image), one.display_name) for one in item.targets),
        entrants=tuple(map(_entrant, item.entrants)),
        metrics=tuple(item.metrics),
        seed=item.seed,
        state=enum(t.RaceState, race_pb2.Race.State, "STATE_", item.state) or t.RaceState.UNKNOWN,
        progress=tuple(map(_progress, item.progress)),
        create_time=time(item.create_time),
        end_time=time(item.end_time) if item.HasField("end_time") else None,
    )


def race_page(answer: race_service_pb2.ListRacesResponse) -> tuple[tuple[t.Race, ...], str]:
    """Races of a page and the token of the next one."""
    return tuple(map(race, answer.races)), answer.next_page_token


def race_update(answer: race_service_pb2.WatchRaceResponse) -> t.RaceUpdate:
    return t.RaceUpdate(race(answer.race), _table(answer.table))


def race_details(answer: race_service_pb2.GetRaceResponse) -> t.RaceDetails:
    return t.RaceDetails(race(answer.race), _table(answer.table), tuple(map(_entry, answer.entries)))


def _entrant(item: race_pb2.RaceEntrant) -> t.RaceEntrant:
    return t.RaceEntrant(
        display_name=item.display_name,
        loop=loop_settings(item.loop),
        selection_metrics=tuple(item.selection_metrics),
        generator_model=item.generator_model,
        steps=optional(item, "steps"),
        guidance_scale=optional(item, "guidance_scale"),
    )


def _progress(item: race_pb2.RaceProgress) -> t.RaceProgress:
    return t.RaceProgress(
        running=item.running_count,
        succeeded=item.succeeded_count,
        failed=item.failed_count,
        cancelled=item.cancelled_count,
        deleted=item.deleted_count,
        finished_rounds=item.finished_round_count,
        images=item.image_count,
        max_images=item.max_image_count,
    )


def _table(item: race_pb2.RaceTable) -> t.RaceTable:
    return t.RaceTable(tuple(map(_row, item.rows)), tuple(map(_duel, item.duels)), item.tie_epsilon)


def _row(item: race_pb2.RaceEntrantRow) -> t.RaceEntrantRow:
    stops = ((stop_reason(one.reason), one.count) for one in item.stops)
    return t.RaceEntrantRow(
        entrant=item.entrant,
        progress=_progress(item.progress),
        curves=tuple(map(_curve, item.curves)),
        images=_mean(item, "images"),
        seconds=_mean(item, "seconds"),
        stops=tuple((reason, count) for reason, count in stops if reason is not None),
        failures=tuple((one.reason, one.count) for one in item.failures),
    )


def _curve(item: race_pb2.RaceCurve) -> t.RaceCurve:
    rounds = tuple(_mean_of(one) if one.count else None for one in item.rounds)
    return t.RaceCurve(item.metric, rounds, optional(item, "raw_mean"))


def _duel(item: race_pb2.RaceDuel) -> t.RaceDuel:
    return t.RaceDuel(
        metric=item.metric,
        first=item.first,
        second=item.second,
        difference=_mean(item, "difference"),
        t_test_p=optional(item, "t_test_p"),
        wilcoxon_p=optional(item, "wilcoxon_p"),
        wins=item.win_count,
        ties=item.tie_count,
        losses=item.loss_count,
    )


def _mean(parent: HasPresence, field: str) -> t.RaceMean | None:
    found: race_pb2.RaceMean | None = optional(parent, field)
    return None if found is None else _mean_of(found)


def _mean_of(item: race_pb2.RaceMean) -> t.RaceMean:
    return t.RaceMean(item.mean, optional(item, "low"), optional(item, "high"), item.count)


def _entry(item: race_pb2.RaceEntry) -> t.RaceEntry:
    return t.RaceEntry(
        target_index=item.target_index,
        entrant_index=item.entrant_index,
        session=item.session,
        state=enum(t.RaceEntryState, race_pb2.RaceEntry.State, "STATE_", item.state) or t.RaceEntryState.UNKNOWN,
        stop_reason=stop_reason(item.stop_reason),
        error=item_error(item),
        rounds=item.round_count,
        images=item.image_count,
        seconds=optional(item, "seconds"),
        best_candidate_id=item.best_candidate_id,
        best_content_hash=item.best_content_hash,
        scores=tuple(t.RaceScore(one.metric, one.raw, one.normalized) for one in item.scores),
    )
