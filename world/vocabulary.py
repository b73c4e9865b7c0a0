"""Every word and thing of the drawn world: kinds, colours, sizes, backgrounds, styles and their synonyms.

This is the one place where the tables live. ``python -m world.export_vocabulary`` writes them to
``models/vocabulary.json`` for the services, which do not import this package.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One nameable object: a pictogram of the font (``glyph``) or, with ``glyph=None``, a plain shape."""

    name: str
    group: str
    glyph: str | None
    tintable: bool = False
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Background:
    """A drawn background; ``phrase`` is the canonical wording, ``terse`` the bare noun of hurried users."""

    name: str
    phrase: str
    terse: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class Style:
    """A picture filter; ``lead`` is its wording before a description ("watercolor of ...")."""

    name: str
    phrase: str
    lead: str
    coloured: bool
    synonyms: tuple[str, ...]


@dataclass(frozen=True)
class Word:
    """A value with its canonical phrase and other wordings."""

    name: str
    phrase: str
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Relation:
    """An order of objects: ``phrase`` reads from each to the next, ``inverse`` from each to the one before."""

    name: str
    phrase: str
    inverse: str
    synonyms: tuple[str, ...]
    inverse_synonyms: tuple[str, ...]


KINDS: tuple[Kind, ...] = (
    Kind("dancer", "people", "💃", synonyms=("dancing woman",)),
    Kind("wizard", "people", "🧙", synonyms=("magician",)),
    Kind("cat", "animals", "🐈", synonyms=("kitten",)),
    Kind("elephant", "animals", "🐘"),
    Kind("fish", "animals", "🐟", True),
    Kind("butterfly", "animals", "🦋", True),
    Kind("car", "vehicles", "🚗", True, ("automobile",)),
    Kind("sailboat", "vehicles", "⛵", synonyms=("boat",)),
    Kind("rocket", "vehicles", "🚀", synonyms=("spaceship",)),
    Kind("house", "buildings", "🏠", synonyms=("home",)),
    Kind("castle", "buildings", "🏰", synonyms=("fortress",)),
    Kind("tree", "plants", "🌳"),
    Kind("cactus", "plants", "🌵"),
    Kind("tulip", "plants", "🌷", True, ("flower",)),
    Kind("apple", "food", "🍎"),
    Kind("pizza", "food", "🍕", synonyms=("slice of pizza",)),
    Kind("balloon", "things", "🎈", True),
    Kind("umbrella", "things", "☂️", True, ("parasol",)),
    Kind("robot", "things", "🤖", synonyms=("robot head",)),
    Kind("moon", "sky", "🌙", synonyms=("crescent moon",)),
    Kind("sun", "sky", "☀️"),
    Kind("circle", "shapes", None, True, ("disc",)),
    Kind("square", "shapes", None, True, ("box",)),
    Kind("triangle", "shapes", None, True),
    Kind("dog", "animals", "🐕", synonyms=("puppy",)),
    Kind("owl", "animals", "🦉"),
    Kind("turtle", "animals", "🐢", synonyms=("tortoise",)),
    Kind("penguin", "animals", "🐧"),
    Kind("snail", "animals", "🐌"),
    Kind("bell", "things", "🔔", True),
    Kind("horse", "animals", "🐎", synonyms=("pony",)),
    Kind("dinosaur", "animals", "🦕", True),
    Kind("rainbow", "sky", "🌈"),
    Kind("train", "vehicles", "🚂", synonyms=("locomotive",)),
    Kind("helicopter", "vehicles", "🚁"),
    Kind("mushroom", "plants", "🍄", True, ("toadstool",)),
    Kind("pineapple", "food", "🍍"),
    Kind("cherry", "food", "🍒", synonyms=("cherries",)),
    Kind("cake", "food", "🎂", synonyms=("birthday cake",)),
    Kind("icecream", "food", "🍦", synonyms=("ice cream",)),
    Kind("teapot", "things", "🫖", True),
    Kind("guitar", "things", "🎸", True),
    Kind("crown", "things", "👑"),
    Kind("key", "things", "🔑"),
    Kind("clock", "things", "⏰", synonyms=("alarm clock",)),
    Kind("snowman", "things", "⛄"),
    Kind("heart", "things", "❤️", True),
    Kind("star", "sky", "⭐", True),
)

COLOURS: tuple[Word, ...] = (
    Word("red", "red", ("scarlet",)),
    Word("orange", "orange"),
    Word("green", "green"),
    Word("blue", "blue"),
    Word("purple", "purple", ("violet",)),
)

SIZES: tuple[Word, ...] = (
    Word("small", "small", ("little", "tiny")),
    Word("large", "large", ("big", "huge")),
)

POSITIONS: tuple[Word, ...] = (
    Word("center", "in the center", ("in the middle",)),
    Word("left", "on the left", ("on the left side",)),
    Word("right", "on the right", ("on the right side",)),
    Word("top", "at the top", ("in the upper part",)),
    Word("bottom", "at the bottom", ("in the lower part",)),
)

RELATIONS: tuple[Relation, ...] = (
    Relation("left_of", "left of", "right of", ("to the left of",), ("to the right of",)),
    Relation("above", "above", "below", ("on top of",), ("under", "beneath")),
)

BACKGROUNDS: tuple[Background, ...] = (
    Background("meadow", "on a meadow", "meadow", ("in a green meadow", "on the grass")),
    Background("sunset", "at sunset", "sunset", ("in the evening sun", "against a sunset sky")),
    Background("night", "in a starry night", "starry night", ("under the stars", "at night")),
    Background("snow", "in the snow", "snow", ("on a snowy field", "in winter")),
    Background("sea", "over the sea", "sea", ("on the blue sea", "at the ocean")),
    Background("desert", "in the desert", "desert", ("in a sandy desert", "on sand dunes")),
    Background("paper", "on plain paper", "plain paper", ("on a blank background", "on an empty sheet")),
    Background("room", "in a room", "room", ("inside a house", "indoors")),
)

STYLES: tuple[Style, ...] = (
    Style("plain", "plain drawing", "drawing of", True, ("plain style", "flat picture")),
    Style("watercolor", "watercolor painting", "watercolor of", True, ("watercolor style", "painted")),
    Style("sketch", "pencil sketch", "pencil sketch of", False, ("sketch style", "drawn in pencil")),
    Style("pixel", "pixel art", "pixel art of", True, ("pixel style", "8 bit picture")),
    Style("neon", "neon glow", "neon sign of", True, ("neon style", "neon lights")),
    Style("sepia", "sepia photo", "sepia photo of", False, ("old photo", "sepia style")),
)

QUALITIES: tuple[Word, ...] = (
    Word("high", "high quality", ("detailed", "crisp")),
    Word("low", "low quality", ("blurry", "faded")),
)

LAYOUTS: tuple[str, ...] = tuple(p.name for p in POSITIONS) + tuple(r.name for r in RELATIONS)
"""Where things are: a position of the single object, or the relation of each object to the next."""

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(kind.group for kind in KINDS))

KIND_BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS}
KIND_NAMES: tuple[str, ...] = tuple(kind.name for kind in KINDS)
COLOUR_NAMES: tuple[str, ...] = tuple(colour.name for colour in COLOURS)
SIZE_NAMES: tuple[str, ...] = tuple(size.name for size in SIZES)
BACKGROUND_NAMES: tuple[str, ...] = tuple(background.name for background in BACKGROUNDS)
STYLE_NAMES: tuple[str, ...] = tuple(style.name for style in STYLES)
QUALITY_NAMES: tuple[str, ...] = tuple(quality.name for quality in QUALITIES)
POSITION_NAMES: tuple[str, ...] = tuple(position.name for position in POSITIONS)
RELATION_NAMES: tuple[str, ...] = tuple(relation.name for relation in RELATIONS)

COLOURED_STYLES: frozenset[str] = frozenset(style.name for style in STYLES if style.coloured)

# Held out of training: for every kind one background in two styles. Each pair of the three is shown, the triple never.
# (Pairs were held out first: the models then learn them as a rule, "this kind is never on that background".)
HELD_OUT: frozenset[tuple[str, str, str]] = frozenset(
    (name, BACKGROUND_NAMES[(3 * index + 1) % len(BACKGROUND_NAMES)], STYLE_NAMES[(index + shift) % len(STYLE_NAMES)])
    for index, name in enumerate(KIND_NAMES)
    for shift in (0, 3)
)
