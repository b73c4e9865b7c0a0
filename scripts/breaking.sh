#!/usr/bin/env bash
# Compares protos/ with the last released tag: a released field never changes meaning.
set -euo pipefail
cd "$(dirname "$0")/.."
last=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
if [ -z "$last" ]; then echo "No release yet: nothing to break."; exit 0; fi
.venv/bin/buf breaking protos --against ".git#tag=$last,subdir=protos"
