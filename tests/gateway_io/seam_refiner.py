"""A refiner whose answers follow from what it is asked."""

from __future__ import annotations

from typing import Any

from likeness.refiner.v1 import refiner_service_pb2 as refiner_pb
from likeness.refiner.v1 import refiner_service_pb2_grpc as refiner_grpc
from likeness.types.v1 import model_pb2, understanding_pb2
from tests.gateway_io.seam_failures import Failures


class SeamRefiner(refiner_grpc.RefinerServiceServicer):
    """A refiner that echoes."""

    def __init__(self) -> None:
        self.failures = Failures()
        self.proposals: list[refiner_pb.ProposeRequest] = []

    async def Understand(self, request: refiner_pb.UnderstandRequest, context: Any) -> refiner_pb.UnderstandResponse:
        await self.failures.maybe(context)
        color = understanding_pb2.Feature(name="color", value="red", aspect=understanding_pb2.ASPECT_COLOR)
        tree = understanding_pb2.UnderstandingTree(base_caption="a red square", overall_features=[color])
        return refiner_pb.UnderstandResponse(tree=tree, prompt="red")

    async def Propose(self, request: refiner_pb.ProposeRequest, context: Any) -> refiner_pb.ProposeResponse:
        await self.failures.maybe(context)
        self.proposals.append(request)
        edit = understanding_pb2.PromptEdit(property="color", before="red", after="blue")
        prompts = [
            refiner_pb.ProposedPrompt(text=f"{request.base_prompt} {i}", origin="synonym", edits=[edit])
            for i in range(request.prompt_count + 1)
        ]
        return refiner_pb.ProposeResponse(prompts=prompts)

    async def Critique(self, request: refiner_pb.CritiqueRequest, context: Any) -> refiner_pb.CritiqueResponse:
        await self.failures.maybe(context)
        feedback = understanding_pb2.Feedback(text="bluer", aspect=request.aspect)
        return refiner_pb.CritiqueResponse(feedback=feedback, agreement=0.25)

    async def Revise(self, request: refiner_pb.ReviseRequest, context: Any) -> refiner_pb.ReviseResponse:
        await self.failures.maybe(context)
        return refiner_pb.ReviseResponse(prompt=f"{request.prompt}, {request.feedback.text}")

    async def ListStrategies(
        self, request: refiner_pb.ListStrategiesRequest, context: Any
    ) -> refiner_pb.ListStrategiesResponse:
        await self.failures.maybe(context)
        strategies = [refiner_pb.Strategy(id="llm"), refiner_pb.Strategy(id="repainter", embedded=True)]
        models = [model_pb2.Model(id="captioner", role=model_pb2.MODEL_ROLE_LANGUAGE)]
        return refiner_pb.ListStrategiesResponse(strategies=strategies, models=models)
