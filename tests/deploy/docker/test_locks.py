"""What the images install: the locks agree with the checkout's, carry hashes, and hold what the code imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.deploy.docker.dockerfile import FOLDER, ROOT

ONLY_OF_DEVELOPERS = {"python-dateutil"}
"""Older in the gateway's image: s3fs wants it, and what wants the newer one there is a tool that no image has."""
NO_IMPORTS = {"services", "likeness", "world"}


def pins(path: Path) -> dict[str, set[str]]:
    """Versions by name, one for each marker."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([\w.]+)", path.read_text(), re.M):
        found.setdefault(name.lower(), set()).add(version)
    return found


def imported(folder: Path) -> set[str]:
    """Top-level modules that the files of a folder import, of other distributions."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - NO_IMPORTS


@pytest.mark.parametrize("lock", ["gateway", "backends"])
def test_an_image_installs_what_a_checkout_is_tested_with(lock: str) -> None:
    checkout, image = pins(ROOT / "requirements.lock"), pins(FOLDER / f"{lock}.lock")
    differing = {name for name, versions in image.items() if not versions <= checkout.get(name, versions)}
    assert differing == (ONLY_OF_DEVELOPERS if lock == "gateway" else set()), "run scripts/lock.sh"
    of_s3 = {"aiobotocore", "aioitertools", "botocore", "jmespath", "s3fs"}
    assert set(image) - set(checkout) == (of_s3 if lock == "gateway" else set()), "run scripts/lock.sh"


@pytest.mark.parametrize("lock", ["build", "gateway", "backends"])
def test_every_pin_has_hashes_and_no_address(lock: str) -> None:
    text = (FOLDER / f"{lock}.lock").read_text()
    entries = re.split(r"\n(?! )", text.strip())
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert "://" not in text and "--index" not in text


def test_the_gateways_image_has_no_torch() -> None:
    heavy = {"torch", "torchvision", "ray", "transformers", "diffusers", "triton", "cuda-toolkit"}
    names = set(pins(FOLDER / "gateway.lock"))
    assert not names & heavy and not [name for name in names if name.startswith("nvidia-")]


@pytest.mark.parametrize(
    ("lock", "folders"),
    [
        ("gateway", ["likeness", "services/common", "services/gateway", "services/backup"]),
        ("backends", ["likeness", "services/common", "services/generator", "services/scorer", "services/refiner"]),
    ],
)
def test_what_a_service_imports_is_in_its_image(lock: str, folders: list[str]) -> None:
    held = set(pins(FOLDER / f"{lock}.lock"))
    distributions = packages_distributions()
    # Read by the client only where a user asks for such files; s3fs is checked by name, as few checkouts have it.
    optional = {"pyarrow"} if lock == "backends" else set()
    for module in sorted(set().union(*(imported(ROOT / folder) for folder in folders)) - optional):
        names = {name.lower().replace("_", "-") for name in distributions.get(module, [module])}
        assert names & held, f"{module} of {names}: add it to the extra of pyproject.toml and run scripts/lock.sh"


def test_server_is_all_extras_of_the_services() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "likeness[backends,gateway]" in extras["server"]
    assert "likeness[common]" in extras["gateway"] and "likeness[common]" in extras["backends"]
