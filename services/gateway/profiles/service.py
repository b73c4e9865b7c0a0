"""The profile service without a transport: one method a call."""

from __future__ import annotations

from collections.abc import Sequence

from services.common.errors import InvalidInputError, NotFoundError, PreconditionError, Reason
from services.common.telemetry import get_logger
from services.gateway.ports import FitOutcome, MetricCatalog, ScorerPort
from services.gateway.profiles import pages, validation
from services.gateway.profiles.heads import ActiveHeads
from services.gateway.profiles.ids import owned_name
from services.gateway.profiles.ids import profile_id as checked_id
from services.gateway.profiles.learning import Learner
from services.gateway.profiles.model import Album, Profile, ProfileVersion, RankingInput
from services.gateway.profiles.pictures import Pictures
from services.gateway.sessions.validation import MAX_DISPLAY_NAME_CHARACTERS, page_size, text
from services.gateway.store.codec import decode
from services.gateway.store.profiles import Addition, FitBasis, ProfileChangedError, ProfileRepository
from services.gateway.store.requests import RequestKey, RequestRepository

FIT_ATTEMPTS = 4
"""How often a fit learns anew because another one was stored meanwhile, the first time included."""
BASE_PREFIX = "lpips-"
"""Metrics that profiles can be based on begin so."""

log = get_logger(__name__)


class ProfileService:
    """What callers do with profiles. Every error is of the tree in services.common.errors."""

    def __init__(
        self,
        profiles: ProfileRepository,
        requests: RequestRepository,
        heads: ActiveHeads,
        scorer: ScorerPort,
        learner: Learner,
        pictures: Pictures,
    ) -> None:
        self._profiles = profiles
        self._requests = requests
        self._heads = heads
        self._scorer = scorer
        self._learner = learner
        self._pictures = pictures

    async def create(
        self,
        tenant_id: str,
        profile_id: str,
        *,
        display_name: str,
        parent: str,
        base_metric: str,
        key: RequestKey | None,
    ) -> Profile:
        """Creates a profile that scores as its parent until it is fitted.

        Args:
            tenant_id: Whose it is to be.
            profile_id: Its id, among those of the tenant.
            display_name: Free text, at most 200 characters.
            parent: Profile to start from and fall back to; "" for LPIPS.
            base_metric: LPIPS metric to start from; "" means the parent's, or the first that the scorer offers.
            key: Request id, or None.
        """
        if (stored := await self._requests.find(key)) is not None:
            return decode(Profile, stored)
        checked_id("profile_id", profile_id)
        text("display_name", display_name, most=MAX_DISPLAY_NAME_CHARACTERS, required=False)
        if parent:
            await self._check_parent(tenant_id, parent, base_metric)
            return await self._profiles.create(tenant_id, profile_id, display_name, parent, None, key)
        base = _base_metric(base_metric, await self._scorer.list_metrics())
        head = await self._scorer.get_head(base)
        return await self._profiles.create(tenant_id, profile_id, display_name, "", head, key)

    async def fit(
        self,
        tenant_id: str,
        profile_id: str,
        session_ids: Sequence[str],
        rankings: Sequence[RankingInput],
        key: RequestKey | None,
    ) -> Profile:
        """Adds rankings, learns from all of the profile's and activates the result; nothing is stored on any error."""
        if (stored := await self._requests.find(key)) is not None:
            return decode(Profile, stored)
        checked_id("profile_id", profile_id)
        sessions, given = validation.session_ids(session_ids), validation.rankings(rankings)
        album = Album()
        ranked = await self._profiles.session_rankings(tenant_id, sessions)
        for index, one in enumerate(ranked):
            validation.picture_count(f"session_ids[{index}]", len(one.pictures))
        added = Addition((*ranked, *await self._pictures.read_rankings(tenant_id, given, album)), album)
        for _ in range(FIT_ATTEMPTS):
            basis = await self._profiles.basis(tenant_id, profile_id)
            outcome = await self._learn(tenant_id, basis, added)
            try:
                fitted = await self._profiles.add_version(tenant_id, basis, added, outcome.head, outcome.report, key)
            except ProfileChangedError:
                log.info("fit_overtaken", profile=profile_id)
                continue
            self._heads.forget(owned_name(tenant_id, profile_id))
            log.info("profile_fitted", profile=profile_id, decision=outcome.report.decision.value)
            return fitted
        message = f"profile {profile_id!r} was fitted by others again and again meanwhile; try again"
        raise PreconditionError(Reason.PROFILE_CHANGED, message, field="profile_id")

    async def get(self, tenant_id: str, profile_id: str) -> Profile:
        """A profile."""
        return await self._profiles.get(tenant_id, checked_id("profile_id", profile_id))

    async def list_page(self, tenant_id: str, wanted: int, page_token: str) -> tuple[list[Profile], str]:
        """A page of profiles by id, and the token of the next page ("" on the last)."""
        size = page_size(wanted)
        # One more than the page tells whether there is a next one.
        found = await self._profiles.list_page(tenant_id, size + 1, pages.read_profile_token(page_token))
        return found[:size], pages.after_profile(found[size - 1]) if len(found) > size else ""

    async def list_versions(
        self, tenant_id: str, profile_id: str, wanted: int, page_token: str
    ) -> tuple[list[ProfileVersion], str]:
        """A page of a profile's versions, newest first, and the token of the next page ("" on the last)."""
        checked_id("profile_id", profile_id)
        size, before = page_size(wanted), pages.read_version_token(profile_id, page_token)
        found = await self._profiles.list_versions(tenant_id, profile_id, size + 1, before)
        return found[:size], pages.after_version(profile_id, found[size - 1]) if len(found) > size else ""

    async def activate(self, tenant_id: str, profile_id: str, number: int, key: RequestKey | None) -> Profile:
        """Scores by a stored version from now on."""
        profile = await self._profiles.activate(tenant_id, checked_id("profile_id", profile_id), number, key)
        self._heads.forget(owned_name(tenant_id, profile_id))
        return profile

    async def delete(self, tenant_id: str, profile_id: str, key: RequestKey | None) -> None:
        """Deletes a profile with its versions and rankings."""
        await self._profiles.delete(tenant_id, checked_id("profile_id", profile_id), key)
        self._heads.forget(owned_name(tenant_id, profile_id))

    async def _check_parent(self, tenant_id: str, parent: str, base_metric: str) -> None:
        base = (await self._profiles.get(tenant_id, checked_id("parent", parent), field="parent")).base_metric
        if base_metric not in ("", base):
            problem = f"is {base_metric[:80]!r}, the parent's is another"
            raise InvalidInputError("base_metric", problem, allowed=f"{base}, or empty")

    async def _learn(self, tenant_id: str, basis: FitBasis, added: Addition) -> FitOutcome:
        profile, replaced = basis.profile, added.sources
        rankings = (*(one for one in basis.rankings if one.source not in replaced), *added.rankings)
        if not rankings:
            message = f"profile {profile.id!r} has no rankings to learn from; name ranked sessions, or send rankings"
            raise PreconditionError(Reason.NO_RANKINGS, message, field="session_ids")
        return await self._learner.learn(
            tenant_id,
            basis.parent or await self._scorer.get_head(profile.base_metric),
            rankings,
            added.album,
            tastes=basis.tastes,
            request_id=f"{profile.id}-fit",
        )


def _base_metric(asked: str, catalog: MetricCatalog) -> str:
    """The LPIPS metric to start from."""
    offered = [name for name in catalog.offered if name.startswith(BASE_PREFIX)]
    if asked in offered:
        return asked
    if offered and not asked:
        return offered[0]
    absent = {name: why for name, why in catalog.absent.items() if name.startswith(BASE_PREFIX)}
    hint = absent.get(asked, "") if asked else "; ".join(f"{name}: {why}" for name, why in absent.items())
    name = asked or f"{BASE_PREFIX}*"
    raise NotFoundError(Reason.METRIC_NOT_FOUND, "LPIPS metric", name, field="base_metric", known=offered, hint=hint)
