"""Folders, overlays, files and nodes: what is read, and what is said of what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.k8s.render import FOLDER, rendered
from services.doctor.manifests import examine_folder
from services.doctor.manifests.gpus import gpus
from services.doctor.manifests.model import title
from services.doctor.manifests.reading import UnreadableError, can_render, read

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"


def node(product: str, gpus: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": product.lower(), "labels": {"nvidia.com/gpu.product": product}},
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)}},
    }


def beside(folder: Path, *nodes: dict[str, Any]) -> Path:
    """The gpu overlay as rendered, with the nodes of a cluster beside it."""
    (folder / "all.yaml").write_text(rendered("gpu").read_text(encoding="utf-8"), encoding="utf-8")
    listed = {"apiVersion": "v1", "kind": "List", "items": list(nodes)}
    (folder / "nodes.yaml").write_text(yaml.safe_dump(listed), encoding="utf-8")
    return folder


def test_files_of_a_folder_are_read_in_order_and_lists_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(MAP % "b" + "---\n" + MAP % "c", encoding="utf-8")
    (tmp_path / "a").mkdir()
    inner = "\n".join("  " + line for line in (MAP % "a").splitlines())
    (tmp_path / "a" / "list.yml").write_text(f"kind: List\nitems:\n-\n{inner}\n", encoding="utf-8")
    assert [title(one) for one in read(tmp_path).objects] == ["ConfigMap a", "ConfigMap b", "ConfigMap c"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is no YAML"),
        ("just: words", "no Kubernetes object"),
        ("- 1", "no Kubernetes object"),
        ("", "no manifest"),
    ],
)
def test_what_is_no_manifest_is_said(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "file.yaml").write_text(text, encoding="utf-8")
    found = list(examine_folder(tmp_path))
    assert [one.state for one in found] == ["problem"]
    assert words in found[0].message and found[0].advice


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "does not exist" in next(examine_folder(tmp_path / "nothing")).message


def test_an_overlay_without_kubectl_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnreadableError) as caught:
        read(FOLDER / "overlays" / "dev")
    assert "kubectl is not installed" in str(caught.value)
    assert "kubectl kustomize DIR" in caught.value.finding.advice


def test_an_overlay_with_a_mistake_says_which(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("kubectl and kustomize are not installed here")
    (tmp_path / "kustomization.yaml").write_text("resources: [nowhere.yaml]\n", encoding="utf-8")
    with pytest.raises(UnreadableError, match=r"nowhere\.yaml"):
        read(tmp_path)


def test_an_overlay_is_rendered(tmp_path: Path) -> None:
    if not can_render():
        pytest.skip("kubectl and kustomize are not installed here")
    (tmp_path / "kustomization.yaml").write_text("resources: [map.yaml]\nnamePrefix: my-\n", encoding="utf-8")
    (tmp_path / "map.yaml").write_text(MAP % "map", encoding="utf-8")
    assert [title(one) for one in read(tmp_path).objects] == ["ConfigMap my-map"]


def test_a_type_of_gpu_that_no_node_has_is_found(tmp_path: Path) -> None:
    found = list(gpus(read(beside(tmp_path, node("Tesla-T4", 4)))))
    assert {one.message.partition(": ")[2] for one in found} == {"no node has the GPU that it requires"}
    assert found[0].advice == "The nodes have nvidia.com/gpu.product=Tesla-T4."


def test_nodes_that_fit_are_taken_and_their_gpus_counted(tmp_path: Path) -> None:
    assert list(gpus(read(beside(tmp_path, node("NVIDIA-L4", 3), node("Tesla-T4", 1))))) == []
    too_few = list(gpus(read(beside(tmp_path, node("NVIDIA-L4", 0)))))
    assert {one.state for one in too_few} == {"warning"}
    assert "it wants 1 GPUs, and the nodes that fit have 0" in too_few[0].message
