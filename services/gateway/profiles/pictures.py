"""The pictures of rankings: checked, addressed, and fetched when they are compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.common.errors import NotFoundError, Reason
from services.gateway.decoding import image_info
from services.gateway.ports import ObjectStore
from services.gateway.profiles.model import Album, PictureInput, ProfileRanking, RankingInput
from services.gateway.scorable import ScorableImage
from services.gateway.store.images import ImageRepository


class Pictures:
    """Reads pictures for profiles."""

    def __init__(self, images: ImageRepository, objects: ObjectStore) -> None:
        self._images = images
        self._objects = objects

    async def read_rankings(self, tenant_id: str, given: Sequence[RankingInput], album: Album) -> list[ProfileRanking]:
        """Rankings by content hashes; their pictures are added to the album.

        Raises:
            ImageError: bytes are no picture that can be taken.
            NotFoundError: IMAGE_NOT_FOUND, for a hash.
        """
        named = [
            (name, picture)
            for index, ranking in enumerate(given)
            for name, picture in _named(f"rankings[{index}]", ranking)
        ]
        await self.add_stored(tenant_id, (one.content_hash for _, one in named if one.data is None), album)
        hashes = iter([await self._address(name, picture, album) for name, picture in named])
        return [
            ProfileRanking(next(hashes), tuple(next(hashes) for _ in one.pictures), tuple(one.places)) for one in given
        ]

    async def add_stored(self, tenant_id: str, content_hashes: Iterable[str], album: Album) -> None:
        """Adds those of the tenant's stored pictures to the album that it lacks."""
        missing = set(content_hashes) - album.infos.keys()
        if missing:
            album.infos.update(await self._images.find_all(tenant_id, missing))

    def find(self, content_hash: str, album: Album) -> ScorableImage:
        """A picture to compare. Raises NotFoundError (IMAGE_NOT_FOUND)."""
        info = album.infos.get(content_hash)
        if info is None:
            raise NotFoundError(Reason.IMAGE_NOT_FOUND, "image", content_hash)
        data = album.data.get(content_hash)
        return ScorableImage.given(data, info.pixel_hash) if data else ScorableImage.stored(info, self._objects)

    async def _address(self, name: str, picture: PictureInput, album: Album) -> str:
        if picture.data is None:
            if picture.content_hash not in album.infos:
                reason, at = Reason.IMAGE_NOT_FOUND, f"{name}.content_hash"
                raise NotFoundError(reason, "image", picture.content_hash, field=at)
            return picture.content_hash
        info = await image_info(picture.data, field=f"{name}.data")
        album.infos[info.content_hash] = info
        album.data[info.content_hash] = picture.data
        return info.content_hash


def _named(field: str, ranking: RankingInput) -> list[tuple[str, PictureInput]]:
    assert ranking.target is not None
    pictures = [(f"{field}.pictures[{index}]", one) for index, one in enumerate(ranking.pictures)]
    return [(f"{field}.target", ranking.target), *pictures]
