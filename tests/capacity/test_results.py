"""docs/capacity.md is what the results say, and the results are what the simulation gives."""

from __future__ import annotations

import pytest

from capacity import numbers, scenarios, validation
from capacity.bottlenecks import CORE_SHARE, bottlenecks, decode_cpu_seconds
from capacity.models import Model
from capacity.report import PAGE, page
from capacity.results import read


def test_the_page_is_what_the_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(read("validation"), read("scenarios"), read("stores"))


def test_the_simulation_still_gives_the_rows_that_were_compared_with_measurements() -> None:
    rows = [*validation.replicas(), *validation.autoscaling(), *validation.load()]
    stored = [(row["what"], row["number"], row["measured"], row["simulated"]) for row in read("validation")["rows"]]
    assert [(row.what, row.number, row.measured, row.simulated) for row in rows] == stored


def test_latencies_and_rates_are_within_a_tenth_of_what_was_measured() -> None:
    compared = [row for row in read("validation")["rows"] if row["number"].startswith(("latency", "pictures/s"))]
    assert len(compared) > 20
    assert max(abs(row["error"]) for row in compared) < 0.1


def test_bursts_are_what_the_simulation_gives() -> None:
    assert [scenarios.burst(times) for times in scenarios.BURSTS] == read("scenarios")["bursts"]


@pytest.mark.parametrize("policy", scenarios.policies(), ids=lambda policy: policy.name)
def test_policies_are_what_the_simulation_gives(policy: scenarios.Policy) -> None:
    start = scenarios.STARTS[0]
    (stored,) = (
        row for row in read("scenarios")["policies"] if (row["policy"], row["start_seconds"]) == (policy.name, start)
    )
    assert scenarios.compare(policy, start) == stored


def test_what_gives_way_grows_with_the_pictures() -> None:
    small, _, large = bottlenecks(numbers.sdxl(), read("stores"), decode_cpu_seconds())
    assert large["pictures_per_second"] == pytest.approx(0.8 * 1000 * numbers.sdxl().pictures_per_second(), rel=0.01)
    for name in ("pictures_per_second", "events_per_second", "gateway_loop_cores", "picture_megabytes_per_second"):
        assert large[name] == pytest.approx(100 * small[name], rel=0.05)
    assert large["commit_ms"] * large["events_per_second"] == pytest.approx(1000, rel=0.02)
    assert large["gateways"] * CORE_SHARE >= large["gateway_loop_cores"]


@pytest.mark.parametrize("model", [numbers.sdxl(), numbers.flux()], ids=lambda model: model.name)
def test_a_picture_alone_takes_what_was_published(model: Model) -> None:
    published = {"SDXL": numbers.SDXL_SECONDS, "FLUX.1-dev": numbers.FLUX_SECONDS}[model.name]
    assert model.alone_seconds == pytest.approx(published.value)
    rows = [row for row in read("scenarios")["capacity"] if row["model"] == model.name]
    assert all(row["p95_seconds"] <= row["aim_seconds"] for row in rows)
    assert all(row["pictures_per_second"] <= row["gpus"] * model.pictures_per_second() for row in rows)


def test_every_number_says_where_it_is_from() -> None:
    assert {one.origin for one in numbers.NUMBERS} == {"measured", "published", "assumed"}
    assert all(one.source and one.name for one in numbers.NUMBERS)
