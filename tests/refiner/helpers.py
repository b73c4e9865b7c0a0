"""Pictures, scripted captions and world scenes for the refiner's tests."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from services.common import images
from services.common.images import DecodedImage
from services.refiner.understanding.base import WeightedCaption
from services.refiner.understanding.scene_prompt import PromptObject, ScenePrompt
from world.scene import Scene

CAR_CAT = "a large red car left of a small cat on a meadow, pixel art, high quality"
FISH_CAT = "a large red fish left of a small cat on a meadow, pixel art, high quality"
CAR_CAT_MOON = "a large red car left of a small cat left of a small moon on a meadow, pixel art, high quality"
ROBOT = "a small robot in the center over the sea, watercolor painting, high quality"

Color = tuple[int, int, int]


def picture(color: Color) -> DecodedImage:
    """A decoded 16x16 picture of one color."""
    return images.decode(png(color))


def png(color: Color) -> bytes:
    """The same picture as PNG bytes."""
    return images.encode_png(Image.new("RGB", (16, 16), color))


class ScriptedCaptions:
    """A captioner that knows its pictures by their top left pixel, and counts its calls."""

    def __init__(self, captions: Mapping[Color, Mapping[str, float]]) -> None:
        self._captions = captions
        self.calls = 0

    def weigh(self, image: Image.Image) -> list[WeightedCaption]:
        """The captions of the picture's color."""
        self.calls += 1
        known = self._captions[image.getpixel((0, 0))]  # type: ignore[index]
        return [WeightedCaption(text, share) for text, share in sorted(known.items(), key=lambda item: -item[1])]


def scene_prompt(scene: Scene) -> ScenePrompt:
    """A scene of the world in the refiner's words."""
    single = len(scene.objects) == 1
    return ScenePrompt(
        objects=tuple(PromptObject(item.kind, item.size, item.colour) for item in scene.objects),
        position=scene.layout if single else None,
        relation=None if single else scene.layout,
        background=scene.background,
        style=scene.style,
        quality=scene.quality,
    )
