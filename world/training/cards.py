"""The README cards of the model folders, from the reports of the trainings and the stored gate table."""

from __future__ import annotations

import json
from typing import Any

from services.scorer.metrics import reward_embedded
from world.training import (
    autoencoder,
    builds,
    captioner,
    clip,
    clip_io,
    data,
    denoiser,
    evaluate,
    generator_io,
    judge,
    reward,
)
from world.training.common import MODELS, kept_runs, report_of
from world.vocabulary import KINDS

_WORLD = """\
Drawings of `world/` ({pictures:,} seen combinations): {kinds} kinds of objects, 1 to 3 in a picture, 8 backgrounds,
6 styles, 2 qualities, each with one canonical and {natural}. For every kind one background in two styles is held
out of training (the pairs are seen, the triple never). Pictograms: Noto Color Emoji, SIL Open Font License 1.1
(drawings made with the font may be used freely; the font itself is not in this folder). Shapes, backgrounds and
filters are the project's own code. No photographs, no real persons, no data from the web.
"""

_LICENCE = "Apache-2.0, like the code. The weights contain no part of another model.\n"

_LIMITS = """\
128 x 128 pixels and the world's vocabulary only (`models/vocabulary.json`): it shows that the loop of generator,
scorer and refiner works on an ordinary machine, and is no substitute for a general model.
"""

_TITLES = {
    judge.FOLDER: ("Judge", "A classifier of all scene attributes, used by evaluations and benchmarks only."),
    "clip-embedded": (
        "Embedded CLIP",
        "A small picture-text similarity model in open_clip's local-dir layout.",
    ),
    captioner.FOLDER: (
        "Embedded captioner",
        "Pictures to canonical captions; reads the embedded CLIP's feature maps.",
    ),
    reward.FOLDER: (
        "Embedded preference model",
        "Scores how well a picture fits a text and how well it is made; a small head on the embedded CLIP's vectors.",
    ),
    builds.EMBEDDED.folder: (
        "Embedded generator",
        "Text to 128 x 128 pictures: a latent diffusion model that loads with diffusers' `DiffusionPipeline`.",
    ),
    builds.SMALL.folder: (
        "Small embedded generator",
        "The embedded generator with a smaller denoiser: the weaker system of comparisons of generators.",
    ),
    builds.OTHER.folder: (
        "Other embedded generator",
        "The embedded generator with a denoiser of another shape and seed: a system that is not tuned for.",
    ),
}

_RECIPES = {
    judge.FOLDER: (
        ["judge"],
        "Convolutional classifier, AdamW, peak rate {judge.PEAK}, shifts of up to four pixels as augmentation. It "
        "also sees drawings of held-out combinations, but never a generated or reconstructed picture.",
    ),
    "clip-embedded": (
        ["clip"],
        "ModifiedResNet of width 24 ({clip_io.IMAGE_SIZE} pixels) and a causal text transformer (width 128, 3 layers, "
        "32 tokens), contrastive loss plus auxiliary attribute heads that are dropped after training. AdamW, peak rate "
        "{clip.PEAK}. Own byte-pair tokenizer, the same ids in transformers and open_clip (`bpe.txt.gz`).",
    ),
    captioner.FOLDER: (
        ["captioner"],
        "Prefix language model: GPT-2 of 2 layers, width 128, on the frozen maps of the CLIP's layers 2-4 as 45 "
        "prefix tokens. AdamW, peak rate {captioner.PEAK}, {captioner.PICTURES} drawings.",
    ),
    reward.FOLDER: (
        ["reward"],
        "Head of width {reward_embedded.WIDTH} on the vectors of text and picture and their product, trained on pairs "
        "of drawings: the scene of a caption and variations of it, in high and low quality. A drawing is worth the "
        "number of the scene's attributes (color, shape, style, layout, background, size) that it shows, and one more "
        "in high quality; one is preferred with the chance sigmoid(difference). Cross-entropy, AdamW, peak rate "
        "{reward.PEAK}. The mean drawing scores 0.",
    ),
    builds.EMBEDDED.folder: (
        ["autoencoder", "denoiser"],
        "AutoencoderTiny (factor 8, {autoencoder.LATENT_CHANNELS} channels, width {autoencoder.WIDTH}; squared and "
        "slope errors, latent noise {autoencoder.LATENT_NOISE}), then UNet2DConditionModel "
        "{builds.EMBEDDED.channels} with velocity prediction, cosine noise with zero terminal signal, AdamW peak rate "
        "{denoiser.PEAK}, average of weights .998, {denoiser.EMPTY_SHARE} empty captions. The text tower is the "
        "embedded CLIP's, frozen. Sample with DDIM, {generator_io.STEPS} steps, guidance {generator_io.GUIDANCE:g} "
        "(`likeness.json`).",
    ),
    **{
        build.folder: (
            [build.name],
            "Autoencoder, text tower, noise and optimizer are the embedded generator's; UNet2DConditionModel "
            f"{build.channels}, blocks of a level: {build.layers}. Sampled alike.",
        )
        for build in builds.FURTHER
    },
}

_PARTS = {
    judge.FOLDER: ["drawings"],
    "clip-embedded": ["clip"],
    captioner.FOLDER: ["captioner"],
    reward.FOLDER: ["reward"],
    builds.EMBEDDED.folder: ["reconstructions", "generated"],
    **{build.folder: ["generated"] for build in builds.FURTHER},
}

_FURTHER = frozenset(build.folder for build in builds.FURTHER)
_GENERATORS = _FURTHER | {builds.EMBEDDED.folder}


def _training_lines(names: list[str]) -> list[str]:
    lines = []
    for run in (run for name in names for run in kept_runs().get(name, [])):
        samples = run["steps"] * run["batch"]
        more = ", from the weights of the run before" if run["continued"] else ""
        lines.append(
            f"- {run['name']}: seed {run['seed']}, {run['steps']:,} steps of {run['batch']} = {samples:,} "
            f"samples, {run['seconds'] / 60:.1f} minutes, {run['hardware']}{more}"
        )
    return lines


_REPORTED = {
    "drawings": "judge",
    "reconstructions": "autoencoder",
    "clip": "clip",
    "captioner": "captioner",
    "reward": "reward",
}


def _scores(result: dict[str, Any], folder: str) -> dict[str, Any]:
    """The evaluated scores of the folder's parts, or what their trainings measured when nothing was evaluated yet."""
    parts = _PARTS[folder]
    if folder in _FURTHER:
        further = result.get("further_generators", {})
        return {"generated": further[folder]} if folder in further else {}
    if result:
        return {part: result["scores"][part] for part in parts}
    reported = {part: report_of(_REPORTED[part]).get("metrics", {}) for part in parts if part in _REPORTED}
    return {part: metrics for part, metrics in reported.items() if "seen" in metrics}


def _unfinished(folder: str) -> list[str]:
    settings = json.loads((MODELS / folder / "likeness.json").read_text())
    return [
        f"**Unfinished**: the denoiser is still in training. These weights are an average after "
        f"{settings['trained_samples']:,} samples and were not evaluated.",
        "",
    ]


def _generator_lines(folder: str, result: dict[str, Any]) -> list[str]:
    """How the kernel distance reads, time where it was measured, and the contact sheet."""
    lines = [
        "`kernel_distance` (KID): how far the judge's features of the pictures are from those of other drawings of the "
        "split, and its standard error; around 0 where they are alike. `world/training/distance.py` says why not FID.",
        "",
    ]
    if folder == builds.EMBEDDED.folder:
        seconds, hardware = result["seconds_per_picture"], result["hardware"]
        lines += [f"Seconds a picture at {generator_io.STEPS} steps with guidance, {hardware}: {seconds}.", ""]
    return [*lines, "![contact sheet](contact_sheet.png)", ""]


def _value(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(scores: dict[str, Any], part: str) -> list[str]:
    seen, held_out = scores[part]["seen"], scores[part]["held_out"]
    lines = [f"**{part}**", "", "| metric | seen | held out |", "|---|---|---|"]
    for metric, value in seen.items():
        if not isinstance(value, dict):
            lines.append(f"| {metric} | {_value(value)} | {_value(held_out[metric])} |")
    return [*lines, ""]


def _gates(result: dict[str, Any], parts: list[str]) -> list[str]:
    rows = [row for row in result["gates"] if row["part"] in parts]
    missed = [f"{row['part']} {row['metric']}" for row in rows if not row["passed"]]
    ending = f"; missed: {', '.join(missed)}." if missed else "."
    return [f"Gates: {len(rows) - len(missed)} of {len(rows)} reached{ending}"]


def card(folder: str, result: dict[str, Any]) -> str:
    """The Markdown card of one model folder."""
    title, purpose = _TITLES[folder]
    names, recipe = _RECIPES[folder]
    values = {
        "judge": judge,
        "clip": clip,
        "clip_io": clip_io,
        "captioner": captioner,
        "autoencoder": autoencoder,
        "builds": builds,
        "generator_io": generator_io,
        "denoiser": denoiser,
        "reward": reward,
        "reward_embedded": reward_embedded,
    }
    pictures, natural = data.SPLITS["train"][0], f"{data.NATURAL_CAPTIONS} natural captions"
    if folder == reward.FOLDER:
        pictures, natural = reward.SPLITS["train"][0] * len(reward.CHANGES), "1 natural caption"
    world = _WORLD.format(kinds=len(KINDS), pictures=pictures, natural=natural)
    lines = [f"# {title}", "", purpose, "", "## Data", "", world]
    lines += ["## Recipe", "", recipe.format(**values), "", *_training_lines(names), ""]
    scores = _scores(result, folder)
    if folder in _GENERATORS and "generated" not in scores:
        lines += _unfinished(folder)
    lines += ["Retrain with `make models`; half-precision safetensors, load them in float32 on a CPU.", ""]
    if scores:
        intro = "Shares of right attributes (`world/training/scores.py`), seen and held-out combinations. "
        if folder == reward.FOLDER:
            intro = (
                "Shares of pairs of drawings in the right order, by the wording of the caption; `quality_apart`: alike "
                "in every attribute but quality. Seen and held-out combinations."
            )
        elif result:
            intro += f"Generated pictures: {result['captions']} captions a split, judged by `models/judge`."
        else:
            intro += "Measured at the end of each training; `python -m world.training.evaluate` measures all."
        lines += ["## Metrics", "", intro, ""]
        for part in scores:
            lines += _table(scores, part)
    if result and folder not in _FURTHER:
        lines += [*_gates(result, _PARTS[folder]), ""]
    if folder in _GENERATORS and "generated" in scores:
        lines += _generator_lines(folder, result)
    lines += ["## Limits", "", _LIMITS, "## Licence", "", _LICENCE]
    return "\n".join(lines).rstrip() + "\n"


def write() -> None:
    """Write the cards of all model folders that exist."""
    result = json.loads(evaluate.RESULTS.read_text()) if evaluate.RESULTS.is_file() else {}
    for folder in _TITLES:
        if (MODELS / folder).is_dir():
            (MODELS / folder / "README.md").write_text(card(folder, result))


if __name__ == "__main__":
    write()
