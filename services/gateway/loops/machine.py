"""Does the steps of one run. Each is stored before the next begins, so a run survives its gateway at any point."""

from __future__ import annotations

from collections.abc import Callable

from services.common import tracing
from services.common.errors import LikenessError, Reason
from services.common.telemetry import get_logger
from services.gateway import domain
from services.gateway.loops import plan
from services.gateway.loops.generating import generate
from services.gateway.loops.judging import score
from services.gateway.loops.observing import Observed
from services.gateway.loops.prompting import critique, propose, revise, understand
from services.gateway.loops.state import Lease, RunState
from services.gateway.loops.work import Tools, Work
from services.gateway.store.runs import RunRepository

log = get_logger(__name__)


class Machine:
    """One run of one session, under a lease."""

    def __init__(
        self,
        lease: Lease,
        runs: RunRepository,
        tools: Tools,
        progress: Callable[[str, domain.CandidateProgress], None],
    ) -> None:
        self._lease = lease
        self._runs = runs
        self._work = Work(lease, runs, tools, progress)

    async def run(self) -> str:
        """Goes on from what is stored until the run stops; cancel the task to interrupt it at any point.

        Returns:
            What ended it, for metrics: a stop reason, "paused" or "prompt_done"; "" if it is to go on.

        Raises:
            LeaseLostError: somebody else runs the session now, or it is deleted.
            UnavailableError: DATABASE_UNAVAILABLE; what is stored stays, and the run can be taken up again.
        """
        observed = Observed()
        try:
            state = await self._runs.load(self._lease)
            tracing.current().set(strategy=state.loop.strategy, generator_model=state.session.settings.generator_model)
            while not isinstance(step := plan.next_step(state), plan.Stop | plan.Pause):
                log.debug("step", step=type(step).__name__)
                before = state
                with observed.step(state, step):
                    state = await self._do(state, step)
                observed.stored(before, step, state.session.best)
        except LikenessError as error:
            if error.reason is Reason.DATABASE_UNAVAILABLE:
                raise
            item = domain.ItemError(error.reason.value, error.message, error.field)
            step = plan.Stop(domain.SessionState.FAILED, domain.StopReason.FAILED, item)
        finally:
            observed.close()
        if isinstance(step, plan.Pause):
            return await self.interrupted()
        log.info("run_stopped", state=step.state.value, reason=step.error.reason if step.error else "")
        await self._runs.stopped(self._lease, step.state, step.reason, step.error)
        return step.reason.value if step.reason else "prompt_done"

    async def interrupted(self) -> str:
        """Stores the end that somebody asked for and returns it as `run` does; "" if nobody did."""
        state = await self._runs.interrupted(self._lease)
        log.info("run_interrupted", state=state.value if state else "")
        return state.value if state else ""

    async def fail(self, error: LikenessError) -> None:
        """Ends the run as failed."""
        item = domain.ItemError(error.reason.value, error.message, error.field)
        await self._runs.stopped(self._lease, domain.SessionState.FAILED, domain.StopReason.FAILED, item)

    async def _do(self, state: RunState, step: plan.Step) -> RunState:
        match step:
            case plan.Understand():
                return await understand(self._work, state)
            case plan.Propose():
                return await propose(self._work, state, step)
            case plan.Generate(candidates):
                return await generate(self._work, state, candidates)
            case plan.ScoreCandidates(candidates):
                return await score(self._work, state, candidates)
            case plan.Critique():
                return await critique(self._work, state, step)
            case plan.Revise():
                return await revise(self._work, state, step)
            case plan.FinishRound(finished):
                return await self._runs.round_finished(self._lease, state, finished, next_prompt="")
            case plan.Pause() | plan.Stop():
                raise AssertionError("an end is not a step to do")
