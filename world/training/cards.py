"""The README cards of the model folders, from the reports of the trainings and the stored gate table."""

from __future__ import annotations

import json
from typing import Any

from services.scorer.metrics import reward_embedded
from world.training import autoencoder, captioner, clip, data, denoiser, evaluate, generator_io, judge, reward
from world.training.common import MODELS, kept_runs, report_of

_WORLD = """\
Drawings of `world/` ({pictures:,} seen combinations): 24 kinds of objects in 1 or 2 places, 8 backgrounds, 6 styles,
2 qualities, each with one canonical and {natural}. For every kind one background in two styles is held
out of training (the pairs are seen, the triple never). Pictograms: Noto Color Emoji, SIL Open Font License 1.1
(drawings made with the font may be used freely; the font itself is not in this folder). Shapes, backgrounds and
filters are the project's own code. No photographs, no real persons, no data from the web.
"""

_LICENCE = "Apache-2.0, like the code. The weights contain no part of another model.\n"

_LIMITS = """\
64 x 64 pixels and the world's vocabulary only (`models/vocabulary.json`): it shows that the loop of generator,
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
    generator_io.FOLDER: (
        "Embedded generator",
        "Text to 64 x 64 pictures: a latent diffusion model that loads with diffusers' `DiffusionPipeline`.",
    ),
}

_RECIPES = {
    judge.FOLDER: (
        ["judge"],
        "Convolutional classifier, AdamW, peak rate {judge.PEAK}, shifts of up to two pixels as augmentation. It "
        "also sees drawings of held-out combinations, but never a generated or reconstructed picture.",
    ),
    "clip-embedded": (
        ["clip"],
        "ModifiedResNet of width 24 (64 pixels) and a causal text transformer (width 128, 3 layers, 32 tokens), "
        "contrastive loss plus auxiliary attribute heads that are dropped after training. AdamW, peak rate "
        "{clip.PEAK}. Own byte-pair tokenizer, the same ids in transformers and open_clip (`bpe.txt.gz`).",
    ),
    captioner.FOLDER: (
        ["captioner"],
        "Prefix language model: GPT-2 of 2 layers, width 128, on the frozen maps of the CLIP's layers 2-4 as 20 "
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
    generator_io.FOLDER: (
        ["autoencoder", "denoiser"],
        "AutoencoderTiny (factor 4, {autoencoder.LATENT_CHANNELS} channels, width {autoencoder.WIDTH}; squared and "
        "slope errors, latent noise {autoencoder.LATENT_NOISE}), then UNet2DConditionModel "
        "{generator_io.CHANNELS} with velocity prediction, cosine noise with zero terminal signal, AdamW peak rate "
        "{denoiser.PEAK}, average of weights .998, {denoiser.EMPTY_SHARE} empty captions. The text tower is the "
        "embedded CLIP's, frozen. Sample with DDIM, {generator_io.STEPS} steps, guidance {generator_io.GUIDANCE:g} "
        "(`likeness.json`).",
    ),
}

_PARTS = {
    judge.FOLDER: ["drawings"],
    "clip-embedded": ["clip"],
    captioner.FOLDER: ["captioner"],
    reward.FOLDER: ["reward"],
    generator_io.FOLDER: ["reconstructions", "generated"],
}


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


def _scores(result: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    """The evaluated scores of the parts, or what their trainings measured when nothing was evaluated yet."""
    if result:
        return {part: result["scores"][part] for part in parts}
    reported = {part: report_of(_REPORTED[part]).get("metrics", {}) for part in parts if part in _REPORTED}
    return {part: metrics for part, metrics in reported.items() if "seen" in metrics}


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
        "captioner": captioner,
        "autoencoder": autoencoder,
        "generator_io": generator_io,
        "denoiser": denoiser,
        "reward": reward,
        "reward_embedded": reward_embedded,
    }
    pictures, natural = data.SPLITS["train"][0], f"{data.NATURAL_CAPTIONS} natural captions"
    if folder == reward.FOLDER:
        pictures, natural = reward.SPLITS["train"][0] * len(reward.CHANGES), "1 natural caption"
    world = _WORLD.format(pictures=pictures, natural=natural)
    lines = [f"# {title}", "", purpose, "", "## Data", "", world]
    lines += ["## Recipe", "", recipe.format(**values), "", *_training_lines(names), ""]
    if folder == generator_io.FOLDER and not result:
        settings = json.loads((MODELS / folder / "likeness.json").read_text())
        lines += [
            f"**Unfinished**: the denoiser is still in training. These weights are an average after "
            f"{settings['trained_samples']:,} samples and were not evaluated.",
            "",
        ]
    lines += ["Retrain with `make models`; half-precision safetensors, load them in float32 on a CPU.", ""]
    scores = _scores(result, _PARTS[folder])
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
    if result:
        lines += [*_gates(result, _PARTS[folder]), ""]
        if folder == generator_io.FOLDER:
            seconds = result["seconds_per_picture"]
            lines += [f"Seconds a picture at {generator_io.STEPS} steps with guidance, 2 cores: {seconds}.", ""]
            lines += ["![contact sheet](contact_sheet.png)", ""]
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
