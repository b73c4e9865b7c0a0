"""Results of an evaluation as a file: JSON lines as they are, Parquet and CSV with one row a picture."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from likeness import EvaluationResult, to_dict
from likeness.cli.arguments import UsageError

_ROWS = 10_000
"""In one row group of Parquet."""
_COLUMNS = {
    "offset": "int64",
    "item_id": "string",
    "group": "string",
    "system": "string",
    "image": "int32",
    "prompt": "string",
    "seed": "uint64",
    "content_hash": "string",
    "error_reason": "string",
    "error": "string",
}

Row = Mapping[str, Any]


def check_results_path(path: Path) -> None:
    """Raises UsageError if no results can be written to such a file."""
    if path.suffix not in _WRITERS:
        raise UsageError(f"--out {path}: results are {', '.join(_WRITERS)}")
    if path.suffix == ".parquet":
        _pyarrow()


def write_results(path: Path, metrics: Sequence[str], results: Iterable[EvaluationResult]) -> None:
    """Writes results as the suffix says, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    try:
        _WRITERS[path.suffix](partial, metrics, results)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_jsonl(path: Path, _: Sequence[str], results: Iterable[EvaluationResult]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_finite(to_dict(result)), ensure_ascii=False) + "\n" for result in results)


def _write_csv(path: Path, metrics: Sequence[str], results: Iterable[EvaluationResult]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, (*_COLUMNS, *_metric_columns(metrics)))
        writer.writeheader()
        writer.writerows({key: _harmless(cell) for key, cell in row.items()} for row in _rows(results))


def _write_parquet(path: Path, metrics: Sequence[str], results: Iterable[EvaluationResult]) -> None:
    pyarrow = _pyarrow()
    columns = _COLUMNS | dict.fromkeys(_metric_columns(metrics), "float64")
    types = {"int64": pyarrow.int64(), "int32": pyarrow.int32(), "uint64": pyarrow.uint64()}
    types |= {"string": pyarrow.string(), "float64": pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for rows in _chunks(_rows(results)):
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))


_WRITERS: dict[str, Callable[[Path, Sequence[str], Iterable[EvaluationResult]], None]] = {
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
}


def _rows(results: Iterable[EvaluationResult]) -> Iterator[Row]:
    """One row a picture; an item that failed has one row too."""
    for result in results:
        item: dict[str, Any] = {
            "offset": result.offset,
            "item_id": result.item_id,
            "group": result.group,
            "system": result.system,
        }
        if result.error is not None:
            yield item | {"error_reason": result.error.reason, "error": result.error.message}
        for number, image in enumerate(result.images, 1):
            row = item | {"image": number, "content_hash": image.content_hash}
            if image.record is not None:
                row |= {"prompt": image.record.prompt, "seed": image.record.seed}
            errors = [image.error, *(score.error for score in image.scores)]
            if error := next((one for one in errors if one is not None), None):
                row |= {"error_reason": error.reason, "error": error.message}
            for score in image.scores:
                if score.error is None:
                    row |= {score.metric: score.raw, f"{score.metric} normalized": score.normalized}
            yield row


def _metric_columns(metrics: Sequence[str]) -> list[str]:
    return [name for metric in metrics for name in (metric, f"{metric} normalized")]


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _finite(value: Any) -> Any:
    """JSON has no infinity (PSNR of two equal pictures): it travels as a text."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list) else value


def _harmless(cell: object) -> object:
    # A spreadsheet would run text that begins like a formula.
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'likeness[parquet]', or --out results.jsonl") from None
    return pyarrow
