# The scorer: a Ray Serve application on a GPU. Build it in the root of the checkout:
#   docker build -f deploy/docker/scorer.Dockerfile -t likeness/scorer:0.1.0 .
# The three backends differ in their last stage's last lines only, so that their large layers are one and the same.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
# CUDA's major and minor version are those of cuda-toolkit in backends.lock: torch brings the libraries themselves, the
# base the forward compatibility with older drivers.
ARG CUDA_IMAGE=nvidia/cuda:13.2.0-base-ubuntu24.04

FROM ${PYTHON_IMAGE} AS builder
COPY deploy/docker/build.lock deploy/docker/backends.lock /locks/
# uv has an environment of its own, which stays behind. Wheels only: nobody's setup.py runs.
RUN python -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /locks/build.lock \
 && /opt/uv/bin/uv venv --no-cache --python /usr/local/bin/python3.11 /opt/venv \
 && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --require-hashes --only-binary :all: \
      --python /opt/venv/bin/python -r /locks/backends.lock
WORKDIR /opt/likeness
COPY likeness likeness
COPY services services
COPY profiles profiles
COPY models models
COPY LICENSE ./
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash likeness services

FROM ${CUDA_IMAGE} AS runtime
# What Python links to, and wget for the probes of KubeRay. Versions are those of the base's release, with its fixes.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libffi8 libsqlite3-0 libssl3t64 wget \
 && rm -rf /var/lib/apt/lists/*
COPY --from=builder /usr/local/bin/python3.11 /usr/local/bin/
COPY --from=builder /usr/local/lib /usr/local/lib
RUN ldconfig \
 && python3.11 -c "import bz2, ctypes, lzma, sqlite3, ssl, uuid, zlib" \
 && groupadd --gid 10001 likeness \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin likeness \
 && install -d -o 10001 -g 10001 -m 0750 /var/cache/likeness \
 && ln -s /opt/venv/bin/ray /opt/venv/bin/serve /usr/local/bin/
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/likeness /opt/likeness
COPY deploy/docker/likeness.sh /usr/local/bin/likeness
# What Serve must know in every process of a cluster (services/cluster/ray_cluster.py), and small logs: /tmp may be memory.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/likeness \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GRPC_ENABLE_FORK_SUPPORT=0 \
    HOME=/tmp \
    HF_HOME=/var/cache/likeness/huggingface \
    TORCH_HOME=/var/cache/likeness/torch \
    XDG_CACHE_HOME=/var/cache/likeness \
    LIKENESS_METRICS_PORT=7402 \
    LIKENESS_SERVE_GRPC_PORT=9000 \
    LIKENESS_SERVE_HTTP_PORT=8000 \
    RAY_SERVE_USE_GRPC_BY_DEFAULT=1 \
    RAY_SERVE_GRPC_MAX_MESSAGE_SIZE=67108864 \
    RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH=68157440 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_DEDUP_LOGS=0 \
    RAY_COLOR_PREFIX=0 \
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 \
    RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE=1 \
    RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 \
    RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=60 \
    RAY_worker_niceness=0 \
    RAY_ROTATION_MAX_BYTES=16777216 \
    RAY_ROTATION_BACKUP_COUNT=2
WORKDIR /tmp
USER 10001:10001
VOLUME ["/var/cache/likeness"]
EXPOSE 9000 7402
STOPSIGNAL SIGTERM

FROM runtime
ARG CUDA_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="likeness-scorer" \
      org.opencontainers.image.description="Scorer of Likeness: how alike two pictures are" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${CUDA_IMAGE}"
# Reading the models of a hub for the first time takes minutes.
HEALTHCHECK --interval=15s --timeout=8s --start-period=15m --retries=4 \
  CMD ["python", "-m", "services.cluster.probe", "scorer"]
CMD ["python", "-m", "services.cluster.backend", "scorer"]
