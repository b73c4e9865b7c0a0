"""A refiner for prompts that name colors: it says which way the color should move, and moves it half of that."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from likeness.refiner.v1 import refiner_service_pb2 as pb
from likeness.refiner.v1 import refiner_service_pb2_grpc as rpc
from likeness.types.v1 import understanding_pb2
from reliability.light.pictures import Color, color_of, likeness, mean_of, moved, pixels_of, prompt_of
from reliability.light.refusing import refusing
from services.common.errors import NotFoundError, Reason

STRATEGY = "painter"
FIRST_PROMPT = prompt_of((128, 128, 128))
SPREAD = 20
"""Largest change of a channel between the prompts of one round."""


class LightRefiner(rpc.RefinerServiceServicer):
    """The strategy "painter". The same request gets the same answer."""

    async def Understand(self, request: pb.UnderstandRequest, context: Any) -> pb.UnderstandResponse:  # noqa: N802
        """A gray start."""
        async with refusing(context):
            _check(request.strategy)
            pixels_of(request.image.data, "image")
        return pb.UnderstandResponse(
            tree=understanding_pb2.UnderstandingTree(base_caption="a color"), prompt=FIRST_PROMPT
        )

    async def Propose(self, request: pb.ProposeRequest, context: Any) -> pb.ProposeResponse:  # noqa: N802
        """The base prompt and neighbors of it."""
        async with refusing(context):
            _check(request.strategy)
        noise, base = random.Random(request.seed), color_of(request.base_prompt)
        prompts = [pb.ProposedPrompt(text=request.base_prompt, origin="revision")]
        for _ in range(request.prompt_count - 1):
            by: Color = (noise.randint(-SPREAD, SPREAD), noise.randint(-SPREAD, SPREAD), noise.randint(-SPREAD, SPREAD))
            prompts.append(pb.ProposedPrompt(text=prompt_of(moved(base, by)), origin="synonym"))
        return pb.ProposeResponse(prompts=prompts)

    async def Critique(self, request: pb.CritiqueRequest, context: Any) -> pb.CritiqueResponse:  # noqa: N802
        """Which way each channel should move, as "move r g b"."""
        async with refusing(context):
            _check(request.strategy)
            target, best = pixels_of(request.target.data, "target"), pixels_of(request.best.data, "best")
        wanted = np.rint(255 * (mean_of(target) - mean_of(best))).astype(int)
        feedback = understanding_pb2.Feedback(text="move {} {} {}".format(*wanted), aspect=request.aspect)
        return pb.CritiqueResponse(feedback=feedback, agreement=likeness(target, best))

    async def Revise(self, request: pb.ReviseRequest, context: Any) -> pb.ReviseResponse:  # noqa: N802
        """Half of the way that the feedback says; other words leave the prompt as it is."""
        async with refusing(context):
            _check(request.strategy)
        words = request.feedback.text.split()
        try:
            red, green, blue = (int(word) // 2 for word in words[1:4])
        except ValueError:
            return pb.ReviseResponse(prompt=request.prompt)
        return pb.ReviseResponse(prompt=prompt_of(moved(color_of(request.prompt), (red, green, blue))))

    async def ListStrategies(self, request: pb.ListStrategiesRequest, context: Any) -> pb.ListStrategiesResponse:  # noqa: N802, ARG002
        """The one strategy."""
        strategy = pb.Strategy(id=STRATEGY, revision="r1", description="Moves colors.", embedded=True)
        return pb.ListStrategiesResponse(strategies=[strategy])


def _check(strategy: str) -> None:
    if strategy != STRATEGY:
        raise NotFoundError(Reason.STRATEGY_NOT_FOUND, "strategy", strategy, field="strategy", known=[STRATEGY])
