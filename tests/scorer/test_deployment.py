"""The Ray Serve application as it is put together; calls through Serve are tested in tests/cluster."""

from __future__ import annotations

import inspect

import pytest

serve = pytest.importorskip("ray.serve")

from services.scorer import deployment  # noqa: E402


def test_the_application_is_bounded_and_small() -> None:
    application = deployment.app({"profile": "embedded"})
    options = application._bound_deployment
    assert options.name == "scorer"
    assert (options.max_ongoing_requests, options.max_queued_requests) == (8, 64)
    assert options.ray_actor_options["num_cpus"] <= 0.5


@pytest.mark.parametrize("method", ["Embed", "Score", "Compare", "GetHead", "FitHead", "ListMetrics"])
def test_every_rpc_of_the_contract_takes_serves_context(method: str) -> None:
    function = getattr(deployment.ScorerDeployment.func_or_class, method)
    assert list(inspect.signature(function).parameters) == ["self", "request", "grpc_context"]
