"""A session as the sum of its events. Pure: the machine and the snapshots of WatchSession use the same fold."""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.gateway import domain


@dataclass(frozen=True)
class History:
    """A session and its rounds at one position of the log."""

    session: domain.Session
    rounds: tuple[domain.Round, ...] = ()


def beginning(session: domain.Session) -> History:
    """The session as it was created, before its first event."""
    created = domain.Session(
        id=session.id,
        display_name=session.display_name,
        target=session.target,
        settings=session.settings,
        state=domain.SessionState.WAITING,
        create_time=session.create_time,
        update_time=session.create_time,
        tenant_id=session.tenant_id,
    )
    return History(created)


def better(best: domain.Candidate | None, other: domain.Candidate) -> domain.Candidate | None:
    """The better of two by loop score; a tie keeps the older, a candidate without a loop score never wins."""
    if other.loop_score is None or (best is not None and (best.loop_score or 0.0) >= other.loop_score):
        return best
    return other


def apply(history: History, event: domain.SessionEvent) -> History:
    """The history after one more durable event."""
    session = replace(history.session, last_event_sequence=event.sequence, update_time=event.create_time)
    rounds = history.rounds
    match event.body:
        case domain.StateChanged(state, stop_reason, error, paused):
            session = replace(session, state=state, stop_reason=stop_reason, error=error, paused=paused)
        case domain.TargetUnderstood(tree):
            session = replace(session, tree=tree)
        case domain.RoundStarted(started):
            session = replace(session, round_count=started.number)
            rounds = (*rounds, started)
        case domain.CandidateGenerated(candidate) | domain.CandidateFailed(candidate):
            rounds = _with_candidate(rounds, candidate)
        case domain.CandidateScored(candidate):
            session = replace(session, best=better(session.best, candidate))
            rounds = _with_candidate(rounds, candidate)
        case domain.RoundFinished(finished):
            rounds = tuple(finished if one.number == finished.number else one for one in rounds)
        case domain.FeedbackGiven() | domain.CandidatesRanked() | domain.CandidateProgress():
            pass
    return History(session, rounds)


def _with_candidate(rounds: tuple[domain.Round, ...], candidate: domain.Candidate) -> tuple[domain.Round, ...]:
    # The round of a candidate is nearly always the last one.
    index = next(i for i in range(len(rounds) - 1, -1, -1) if rounds[i].number == candidate.round_number)
    members = tuple(candidate if one.id == candidate.id else one for one in rounds[index].candidates)
    return (*rounds[:index], replace(rounds[index], candidates=members), *rounds[index + 1 :])
