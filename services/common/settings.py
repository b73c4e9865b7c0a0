"""Settings from the environment (prefix LIKENESS_), typed and frozen. One attribute a line, units in the names."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.common.replicas import ReplicaSettings

MEBIBYTE = 1024 * 1024
MAX_MESSAGE_BYTES = 64 * MEBIBYTE
"""Largest gRPC message on every hop: client, gateway, Serve proxy, replica."""


class Settings(ReplicaSettings, BaseSettings):
    """What an operator can set. The profile says which models run; this says where, how and in how many replicas."""

    # An error that showed its input would show keys.
    model_config = SettingsConfigDict(env_prefix="LIKENESS_", frozen=True, extra="ignore", hide_input_in_errors=True)

    home: Path = Field(default_factory=lambda: Path.home() / ".likeness")
    """Folder for embedded stores, pictures and logs."""
    profile: str = "embedded"
    """Name of a file in profiles/, or the path of one."""
    models_dir: Path | None = None
    """Folder with the embedded models; None means models/ of the installation."""
    database_url: str | None = None
    """postgresql+asyncpg:// URL; None starts an embedded PostgreSQL under home."""
    redis_url: str | None = None
    """redis:// URL; None starts an embedded Redis under home."""
    object_store_url: str | None = None
    """file:///folder or s3://bucket/prefix; None means a folder under home."""
    gateway_host: str = "127.0.0.1"
    """Address that the gateway listens on."""
    require_keys: bool | None = None
    """Whether calls need an API key; None means unless the gateway listens on loopback."""
    allow_plaintext: bool = False
    """Whether the gateway may listen without TLS where others can read along: anywhere but on loopback."""
    tls_certificate: Path | None = None
    """PEM file with the gateway's certificate chain; None means no TLS."""
    tls_key: Path | None = None
    """PEM file with the key of that certificate."""
    tls_client_ca: Path | None = None
    """PEM file of the authorities whose client certificates are let in (mutual TLS); None asks for none."""
    key_requests_per_second: float = Field(default=0.0, ge=0)
    """Calls a second that one API key may begin, where the tenant has no limit of its own; 0 means no limit."""
    key_concurrent_calls: int = Field(default=0, ge=0)
    """Calls that one API key may have open, streams included, where the tenant has no limit of its own; 0: no limit."""
    tenant_images_per_day: int = Field(default=0, ge=0)
    """Pictures that a tenant may ask for in a day (UTC), where it has no limit of its own; 0 means no limit."""
    tenant_megapixels_per_day: float = Field(default=0.0, ge=0)
    """Megapixels that may be made for a tenant in a day, where it has no limit of its own; 0 means no limit."""
    log_prompts: bool = False
    """Whether the gateway's log and traces may contain prompts."""
    gateway_port: int = Field(default=7400, ge=0, le=65535)
    """Port of the gateway's gRPC API; 0 picks a free one."""
    http_port: int = Field(default=7401, ge=0, le=65535)
    """Port of /metrics and /healthz; 0 picks a free one."""
    generator_address: str = "127.0.0.1:9000"
    """host:port of the gRPC proxy that serves the generator."""
    scorer_address: str = "127.0.0.1:9000"
    """host:port of the gRPC proxy that serves the scorer."""
    refiner_address: str = "127.0.0.1:9000"
    """host:port of the gRPC proxy that serves the refiner."""
    serve_grpc_port: int = Field(default=9000, ge=1, le=65535)
    """Port of Ray Serve's gRPC proxy when `likeness up` starts Ray."""
    serve_http_port: int = Field(default=8000, ge=1, le=65535)
    """Port of Ray Serve's HTTP proxy when `likeness up` starts Ray."""
    request_timeout_seconds: float = Field(default=120.0, gt=0)
    """Longest backend call when the client sets no deadline."""
    max_running_sessions: int = Field(default=16, ge=1, le=1024)
    """Sessions that one gateway works on at the same time; more wait their turn."""
    embedding_ttl_seconds: int = Field(default=7 * 24 * 3600, gt=0)
    """How long Redis keeps an embedding."""
    request_id_ttl_seconds: int = Field(default=24 * 3600, gt=0)
    """How long an answer is kept for idempotency."""
    session_retention_days: float | None = Field(default=None, ge=1)
    """Days after which finished sessions that have not changed are deleted; None keeps them."""
    event_retention_days: float | None = Field(default=None, ge=1)
    """Days after which the events of finished sessions give way to one snapshot; None keeps them."""
    reflection: bool = True
    """Whether the gateway offers gRPC server reflection."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
    otlp_endpoint: str | None = None
    """http:// or https:// URL of an OpenTelemetry collector (OTLP over gRPC) that takes traces; None: no traces."""
    torch_threads: int = Field(default=0, ge=0)
    """Threads torch uses in each replica; 0 means all cores, in the embedded cluster half of them."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    generator_memory_mib: int | None = Field(default=None, ge=1)
    """Memory for parameters of generator models in each replica, in MiB; models beyond it take turns. None: all models
    of the profile stay loaded."""
    lpips_weights_dir: Path | None = None
    """Folder with the ImageNet backbones of LPIPS and DISTS (docs/metrics.md); None looks in the usual places."""
    llm_base_url: str | None = None
    """OpenAI-compatible endpoint for the llm strategy; None leaves the strategy out."""
    llm_model: str = ""
    """Model name at that endpoint."""
    llm_api_key: str = ""
    """Key for that endpoint; never logged."""
