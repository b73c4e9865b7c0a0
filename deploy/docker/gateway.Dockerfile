# The gateway: plain gRPC, without torch and Ray. Build it in the root of the checkout:
#   docker build -f deploy/docker/gateway.Dockerfile -t likeness/gateway:0.1.0 .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
COPY deploy/docker/build.lock deploy/docker/gateway.lock /locks/
# uv has an environment of its own, which stays behind. Wheels only: nobody's setup.py runs.
RUN python -m venv /opt/uv \
 && /opt/uv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /locks/build.lock \
 && /opt/uv/bin/uv venv --no-cache --python /usr/local/bin/python3.11 /opt/venv \
 && /opt/uv/bin/uv pip install --no-cache --compile-bytecode --require-hashes --only-binary :all: \
      --python /opt/venv/bin/python -r /locks/gateway.lock
WORKDIR /opt/likeness
COPY likeness likeness
COPY services services
COPY profiles profiles
COPY LICENSE ./
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash likeness services

FROM ${PYTHON_IMAGE}
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="likeness-gateway" \
      org.opencontainers.image.description="Gateway of Likeness: what clients call" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
RUN groupadd --gid 10001 likeness \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/likeness --shell /usr/sbin/nologin likeness \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/likeness
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/likeness /opt/likeness
COPY deploy/docker/likeness.sh /usr/local/bin/likeness
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/likeness \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GRPC_ENABLE_FORK_SUPPORT=0 \
    HOME=/var/lib/likeness \
    LIKENESS_HOME=/var/lib/likeness \
    LIKENESS_GATEWAY_HOST=0.0.0.0 \
    LIKENESS_GATEWAY_PORT=7400 \
    LIKENESS_HTTP_PORT=7401
WORKDIR /var/lib/likeness
USER 10001:10001
VOLUME ["/var/lib/likeness"]
EXPOSE 7400 7401
# The gateway drains in less than 30 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 \
  CMD ["python", "-m", "services.cluster.probe", "gateway"]
CMD ["python", "-m", "services.gateway.app"]
