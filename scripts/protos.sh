#!/usr/bin/env bash
# Generates the Python contracts with type stubs from protos/ into the likeness package.
# `scripts/protos.sh --check` fails when the committed files differ from what the protos give.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
bin=$(dirname "$python")
out=.
if [ "${1:-}" = "--check" ]; then out=$(mktemp -d); trap 'rm -rf "$out"' EXIT; fi
files=$(find protos -name '*.proto' | sort)
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -I protos -I third_party/protos \
  --python_out="$out" --mypy_out="quiet:$out" --grpc_python_out="$out" --mypy_grpc_out="quiet:$out" $files
# A file without services gets an empty gRPC module; nothing should import it.
for proto in $files; do
  grep -q '^service ' "$proto" && continue
  base="$out/${proto#protos/}"; rm -f "${base%.proto}_pb2_grpc.py" "${base%.proto}_pb2_grpc.pyi"
done
for package in types generator scorer refiner gateway; do
  touch "$out/likeness/$package/__init__.py" "$out/likeness/$package/v1/__init__.py"
done
if [ "$out" != . ]; then
  status=0
  for package in types generator scorer refiner gateway; do
    diff -r -x __pycache__ "$out/likeness/$package" "likeness/$package" || status=1
  done
  [ $status = 0 ] || { echo "Generated contracts are out of date: run 'make protos'." >&2; exit 1; }
fi
