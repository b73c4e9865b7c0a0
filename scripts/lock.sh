#!/usr/bin/env bash
# Pins what pyproject.toml allows: requirements.lock for a checkout, and from it the locks of the images, with hashes.
# scripts/lock.sh --upgrade takes the newest versions; without it a pin stays where it may.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=(.venv/bin/uv --quiet pip compile pyproject.toml --universal --python-version 3.11)
uv+=(--no-emit-index-url --no-header --no-annotate)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${uv[@]}" --extra server --extra dev -o requirements.lock "$@"
"${uv[@]}" --extra backends --constraint requirements.lock --generate-hashes -o deploy/docker/backends.lock
# S3 comes second: what it needs must agree with the gateway, but not with the tools of developers.
"${uv[@]}" --extra gateway --constraint requirements.lock -o "$work/gateway.txt"
"${uv[@]}" --extra gateway --extra s3 --constraint "$work/gateway.txt" --generate-hashes -o deploy/docker/gateway.lock
