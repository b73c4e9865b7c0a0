"""/metrics of a running cluster: every sample is one that the dashboards' check knows, with its type and labels."""

from __future__ import annotations

import urllib.request

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from likeness.gateway.v1 import session_pb2, session_service_pb2, session_service_pb2_grpc
from likeness.types.v1 import image_pb2
from tests.conftest import Cluster
from tests.deploy.monitoring.exported import exported
from tests.e2e.pictures import encode, picture


@pytest.fixture(scope="module")
def samples(cluster: Cluster) -> dict[str, tuple[str, set[str]]]:
    """Type and labels of every sample, by name, after a loop of two rounds."""
    with grpc.insecure_channel(cluster.address) as channel:
        sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        settings = session_pb2.SessionSettings(metrics=["ssim"], selection_metrics=["ssim"], seed=5, steps=3)
        target = image_pb2.Image(data=encode(picture()))
        create = session_service_pb2.CreateSessionRequest(target=target, settings=settings)
        name = sessions.CreateSession(create, timeout=60).session.name
        loop = session_pb2.LoopSettings(rounds=2, candidates=1)
        sessions.StartLoop(session_service_pb2.StartLoopRequest(name=name, settings=loop), timeout=60)
        for _ in sessions.WatchSession(
            session_service_pb2.WatchSessionRequest(name=name, until_idle=True), timeout=200
        ):
            pass
    with urllib.request.urlopen(f"http://{cluster.http_address}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    found: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = (family.type, set(sample.labels))
    return found


def test_every_sample_is_known_with_its_type_and_labels(samples: dict[str, tuple[str, set[str]]]) -> None:
    # Gauges of several processes are told apart by process before they are merged, never afterwards.
    assert {name for name in samples if name not in exported()} == set()
    for name, (kind, labels) in samples.items():
        assert (kind, labels) == (exported()[name].type, exported()[name].labels), name


def test_a_loop_shows_in_the_metrics_of_every_service(samples: dict[str, tuple[str, set[str]]]) -> None:
    wanted = {
        "likeness_gateway_round_best_score_sum",
        "likeness_gateway_round_gain_bucket",
        "likeness_gateway_loop_step_seconds_count",
        "likeness_gateway_waiting_sessions",
        "likeness_gateway_component_up",
        "likeness_generator_queue_seconds_bucket",
        "likeness_generator_decode_seconds_sum",
        "likeness_generator_batch_items_bucket",
        "likeness_generator_running_items",
        "likeness_generator_model_bytes",
        "likeness_scorer_queue_depth",
        "likeness_refiner_rpc_seconds_count",
    }
    assert wanted <= samples.keys()
