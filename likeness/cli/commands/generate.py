"""`generate`: a prompt in, pictures with their generation records out."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from likeness import Client, GeneratedImage, GenerationOptions, GenerationPreview, Priority
from likeness.cli.arguments import command
from likeness.cli.connection import address
from likeness.cli.generation_view import GenerationView
from likeness.cli.output import Output
from likeness.cli.previews import SUFFIX, PreviewFiles, stem

_TIMEOUT_SECONDS = 3600.0
"""Long enough for sixteen large pictures on a slow machine: whoever waits sees the progress, and can leave."""
_NAME = re.compile(rf"(\d+)-\d+(?:\.png|{re.escape(SUFFIX)})")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command."""
    parser = command(commands, "generate", _run, "make pictures from a prompt")
    parser.add_argument("prompt", help="what the pictures should show")
    parser.add_argument("--count", type=int, default=1, metavar="N", help="pictures to make, 1 to 16 (default: 1)")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of the first picture; others have the next ones (default: drawn)"
    )
    parser.add_argument("--negative-prompt", default="", metavar="TEXT", help="what they should not show")
    parser.add_argument("--steps", type=int, metavar="N", help="denoising steps (default: the model's)")
    parser.add_argument("--guidance-scale", type=float, metavar="X", help="guidance scale (default: the model's)")
    parser.add_argument("--width", type=int, metavar="PIXELS", help="width (default: the model's)")
    parser.add_argument("--height", type=int, metavar="PIXELS", help="height (default: the model's)")
    parser.add_argument("--scheduler", default="", metavar="NAME", help="scheduler (default: the model's)")
    parser.add_argument("--model", default="", metavar="ID", help="generator model (default: the profile's)")
    _add_start(parser)
    parser.add_argument("--adapter", default="", metavar="NAME", help="adapter of the model (default: none)")
    parser.add_argument("--adapter-scale", type=float, metavar="X", help="how much of it, -4 to 4 (default: 1)")
    parser.add_argument(
        "--preview-every",
        type=int,
        default=0,
        metavar="STEPS",
        help=f"show pictures on their way in NUMBER-SEED{SUFFIX} files beside the output (default: never)",
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="the same pixels to the bit for the same request, but slower"
    )
    parser.add_argument(
        "--priority",
        choices=[str(priority) for priority in Priority],
        default=str(Priority.INTERACTIVE),
        help="which waiting pictures begin first (default: interactive)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="write NUMBER-SEED.png files there (default: here)"
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="initial_image", metavar="IMAGE", help="picture to start from; needs --strength")
    parser.add_argument("--strength", type=float, metavar="X", help="how much of it is made anew, above 0, up to 1")
    parser.add_argument(
        "--mask", metavar="IMAGE", help="where it is made anew: white is made anew, black stays (default: everywhere)"
    )
    parser.add_argument(
        "--second-strength",
        type=float,
        metavar="X",
        help="noise the finished picture again to this part of the steps and denoise it a second time",
    )


def _run(args: argparse.Namespace, output: Output) -> int:
    # Before any picture is made: a folder that cannot be made must not cost them.
    args.out.mkdir(parents=True, exist_ok=True)
    first = _last_number(args.out) + 1
    done: dict[int, tuple[GeneratedImage, Path | None]] = {}
    with (
        Client(address(args), timeout_seconds=_TIMEOUT_SECONDS) as client,
        PreviewFiles(args.out, first) as previews,
        GenerationView(output) as view,
    ):
        try:
            for event in client.generate_events(args.prompt, **_options(args)):
                if isinstance(event, GenerationPreview):
                    view.show_preview(event, previews.write(event))
                    continue
                view.show(event)
                if isinstance(event, GeneratedImage):
                    path = None if event.error else _write(args.out, first + event.number - 1, event)
                    previews.remove(event.number)
                    done[event.number] = event, path
                    if output.json:
                        output.value({"file": path and str(path), "picture": event})
        except BaseException:
            if files := [str(path) for _, path in done.values() if path]:
                output.notes.print(f"Done before it stopped: {', '.join(files)}")
            raise
    if not output.json:
        _say([done[number] for number in sorted(done)], output)
    return 1 if any(made.error for made, _ in done.values()) else 0


def _options(args: argparse.Namespace) -> GenerationOptions:
    return GenerationOptions(
        count=args.count,
        seed=args.seed,
        negative_prompt=args.negative_prompt,
        steps=args.steps,
        guidance_scale=args.guidance_scale,
        width_pixels=args.width,
        height_pixels=args.height,
        scheduler=args.scheduler,
        model=args.model,
        initial_image=args.initial_image,
        strength=args.strength,
        mask=args.mask,
        second_strength=args.second_strength,
        adapter=args.adapter,
        adapter_scale=args.adapter_scale,
        preview_every=args.preview_every,
        deterministic=args.deterministic,
        priority=Priority(args.priority),
    )


def _last_number(folder: Path) -> int:
    """The highest number of earlier pictures in the folder, which numbers go on after; 0 if there are none."""
    names = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return max((int(name[1]) for name in names if name), default=0)


def _write(folder: Path, number: int, made: GeneratedImage) -> Path:
    """Writes a picture as it came, its record inside. A name that is taken meanwhile is left for the next number."""
    while True:
        path = folder / f"{stem(number, made.seed)}.png"
        try:
            with path.open("xb") as file:
                file.write(made.png)
            return path
        except FileExistsError:
            number += 1


def _say(done: Sequence[tuple[GeneratedImage, Path | None]], output: Output) -> None:
    output.table(("file", ">seed", ">steps", "scheduler", "model"), [_row(made, path) for made, path in done])
    cut = dict.fromkeys(made.record.model for made, _ in done if made.record and made.prompt_truncated)
    if cut:
        output.say(f"the prompt is longer than {', '.join(cut)} can read: its end was left out")


def _row(made: GeneratedImage, path: Path | None) -> Sequence[str | Text]:
    if made.error:
        return Text(f"failed: {made.error.message}", style="red"), str(made.seed), "-", "-", "-"
    record = made.record
    assert record is not None
    return str(path), str(made.seed), str(record.steps), record.scheduler, record.model
