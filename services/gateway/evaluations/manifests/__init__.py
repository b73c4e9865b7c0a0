"""Items as a file: JSON lines, Parquet or WebDataset tar. A bad row is an item that failed, and says where and why."""

from services.gateway.evaluations.manifests.file import ManifestFile, part_field
from services.gateway.evaluations.manifests.reading import MAX_ITEMS, Format, read_manifest

__all__ = ["MAX_ITEMS", "Format", "ManifestFile", "part_field", "read_manifest"]
