#!/usr/bin/env bash
# Adds to every image that the Dockerfiles and compose.yaml start from the digest that its tag has now, so that a tag
# which is moved changes nothing. Again after a change of a version. Needs docker with buildx, and the network.
set -euo pipefail
cd "$(dirname "$0")/.."
files=(deploy/docker/*.Dockerfile deploy/compose.yaml)
image='(python|nvidia/cuda|postgres|redis):[0-9][A-Za-z0-9._-]*'
for tag in $(grep -hoE "$image" "${files[@]}" | sort -u); do
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$tag: no digest, but '$digest'" >&2; exit 1; }
  sed -i.before -E "s|(^\|[= ])${tag//./\\.}(@sha256:[0-9a-f]{64})?([[:space:]]*)\$|\1$tag@$digest\3|" "${files[@]}"
  echo "$tag@$digest"
done
rm -f deploy/docker/*.before deploy/*.before
