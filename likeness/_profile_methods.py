"""The calls of personal metrics, which both clients inherit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from likeness import _profile_calls as calls
from likeness import _types as t
from likeness._calling import AsyncCalling, Calling


class ProfileMethods(Calling):
    """Personal metrics for the sync client."""

    def create_profile(
        self, profile_id: str, *, display_name: str = "", parent: t.Profile | str = "", base_metric: str = ""
    ) -> t.Profile:
        """Creates a personal metric that scores as its parent until it is fitted.

        Args:
            profile_id: 1 to 63 lower-case letters, digits, "-" and "_", a letter first.
            display_name: Name for people, at most 200 characters.
            parent: Profile to start from and fall back to; LPIPS if left out.
            base_metric: LPIPS metric to start from without a parent; the deployment's first if left out.
        """
        return self._run(calls.create_profile(profile_id, display_name, parent, base_metric))

    def fit_profile(
        self,
        profile: t.Profile | str,
        *,
        sessions: Sequence[t.Session | str] = (),
        rankings: Sequence[t.RankedPictures] = (),
    ) -> t.Profile:
        """Adds rankings, learns from all that the profile has, and returns it with its new active version.

            profile = client.fit_profile("anna", rankings=[("target.png", ["best.png", "next.png", "worst.png"])])
            print(profile.active.report.explanation)

        Args:
            profile: The profile.
            sessions: Sessions whose newest ranking is added; one that was added before is replaced. At most 64.
            rankings: Rankings of pictures outside any session. At most 64.

        Raises:
            FailedPrecondition: There is no ranking to learn from (NO_RANKINGS), or others keep fitting the profile at
                the same time (PROFILE_CHANGED).
        """
        return self._run(calls.fit_profile(profile, sessions, rankings))

    def profile(self, profile: t.Profile | str) -> t.Profile:
        """A personal metric as it is now."""
        return self._run(calls.get_profile(profile))

    def profiles(self, *, page_size: int = 0) -> Iterator[t.Profile]:
        """All personal metrics by id; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: calls.list_profiles(page_size, token))

    def profile_versions(self, profile: t.Profile | str, *, page_size: int = 0) -> Iterator[t.ProfileVersion]:
        """All versions of a personal metric with their reports, newest first; pages as in `profiles`."""
        return self._pages(lambda token: calls.list_profile_versions(profile, page_size, token))

    def activate_profile_version(self, profile: t.Profile | str, version: t.ProfileVersion | int) -> t.Profile:
        """Scores by a stored version from now on: rolls back, or forward again."""
        return self._run(calls.activate_profile_version(profile, version))

    def delete_profile(self, profile: t.Profile | str) -> None:
        """Deletes a personal metric with its versions and rankings; deleting an absent one succeeds."""
        self._run(calls.delete_profile(profile))


class AsyncProfileMethods(AsyncCalling):
    """Personal metrics for the async client."""

    async def create_profile(
        self, profile_id: str, *, display_name: str = "", parent: t.Profile | str = "", base_metric: str = ""
    ) -> t.Profile:
        """As `Client.create_profile`."""
        return await self._run(calls.create_profile(profile_id, display_name, parent, base_metric))

    async def fit_profile(
        self,
        profile: t.Profile | str,
        *,
        sessions: Sequence[t.Session | str] = (),
        rankings: Sequence[t.RankedPictures] = (),
    ) -> t.Profile:
        """As `Client.fit_profile`."""
        return await self._run(calls.fit_profile(profile, sessions, rankings))

    async def profile(self, profile: t.Profile | str) -> t.Profile:
        """A personal metric as it is now."""
        return await self._run(calls.get_profile(profile))

    def profiles(self, *, page_size: int = 0) -> AsyncIterator[t.Profile]:
        """All personal metrics by id; pages are fetched as they are needed. 0 means the server's page size."""
        return self._pages(lambda token: calls.list_profiles(page_size, token))

    def profile_versions(self, profile: t.Profile | str, *, page_size: int = 0) -> AsyncIterator[t.ProfileVersion]:
        """All versions of a personal metric with their reports, newest first; pages as in `profiles`."""
        return self._pages(lambda token: calls.list_profile_versions(profile, page_size, token))

    async def activate_profile_version(self, profile: t.Profile | str, version: t.ProfileVersion | int) -> t.Profile:
        """Scores by a stored version from now on: rolls back, or forward again."""
        return await self._run(calls.activate_profile_version(profile, version))

    async def delete_profile(self, profile: t.Profile | str) -> None:
        """Deletes a personal metric with its versions and rankings; deleting an absent one succeeds."""
        await self._run(calls.delete_profile(profile))
