"""The whole embedded cluster, Ray included: every part is well, and every hop takes 64 MiB and no more."""

from __future__ import annotations

import json
from urllib.request import urlopen

import grpc
import psutil
import pytest

from likeness.scorer.v1 import scorer_service_pb2 as pb
from likeness.scorer.v1.scorer_service_pb2_grpc import ScorerServiceStub
from likeness.types.v1 import image_pb2
from services.common.settings import MAX_MESSAGE_BYTES
from tests.cluster.running import command_of
from tests.conftest import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

BACKENDS = ("generator", "scorer", "refiner")


def test_every_part_serves_and_is_measured(cluster: Cluster) -> None:
    with urlopen(f"http://{cluster.http_address}/healthz") as response:
        health = json.load(response)
    assert health["health"] == "serving"
    assert {part: one["health"] for part, one in health["components"].items()} == dict.fromkeys(
        ("generator", "scorer", "refiner", "database", "cache", "object_store"), "serving"
    )
    with urlopen(f"http://{cluster.http_address}/metrics") as response:
        text = response.read().decode()
    for service in ("gateway", "scorer"):
        assert f"likeness_{service}_" in text, f"metrics of the {service}'s process are rendered here too"


def test_one_replica_of_each_backend_as_nice_as_who_starts_them(cluster: Cluster) -> None:
    below = psutil.Process(cluster.processes["ray"]).children(recursive=True)
    niceness = {name: [one.nice() for one in below if f"ServeReplica:{name}" in command_of(one)] for name in BACKENDS}
    assert niceness == {name: [psutil.Process().nice()] for name in BACKENDS}


@pytest.mark.parametrize("excess", [0, 1])
def test_the_proxy_and_the_replica_take_64_mib(cluster: Cluster, excess: int) -> None:
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    request = pb.EmbedRequest(model="clip-embedded", images=[image_pb2.Image(data=b"\0" * (MAX_MESSAGE_BYTES - 64))])
    missing = MAX_MESSAGE_BYTES + excess - request.ByteSize()
    request.request_id = "x" * (missing - 2)
    assert request.ByteSize() == MAX_MESSAGE_BYTES + excess
    with (
        grpc.insecure_channel(cluster.backends_address, options=options) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ScorerServiceStub(channel).Embed(request, timeout=120, metadata=(("application", "scorer"),))
    # The file is no picture, which only the replica can find out.
    expected = grpc.StatusCode.RESOURCE_EXHAUSTED if excess else grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.code() is expected
