from collections.abc import Iterator
from pathlib import Path

import grpc

from likeness.gateway.v1 import evaluation_service_pb2 as pb
from likeness.gateway.v1.evaluation_pb2 import EvaluationItem
from likeness.gateway.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
from likeness.types.v1.image_pb2 import Image

TARGET = Image(data=Path("target.png").read_bytes())


def requests() -> Iterator[pb.StreamEvaluationsRequest]:
    yield pb.StreamEvaluationsRequest(config=pb.StreamEvaluationsConfig(display_name="two pictures"))
    for offset, path in enumerate(("best.png", "other.png")):
        image = Image(data=Path(path).read_bytes())
        item = EvaluationItem(offset=offset, item_id=path, target=TARGET, image=image)
        yield pb.StreamEvaluationsRequest(items=pb.EvaluationItems(items=[item]))


with grpc.insecure_channel("127.0.0.1:7400") as channel:
    for answer in EvaluationServiceStub(channel).StreamEvaluations(requests()):
        if answer.HasField("opened"):
            print("go on with", answer.opened.evaluation.name, "if the stream breaks")
        elif answer.HasField("results"):
            for result in answer.results.results:
                print(result.item_id, [(s.metric, s.normalized) for s in result.images[0].scores])
        else:
            print("everything is stored up to", answer.committed.committed_offset)
