"""What the gateway needs from outside, as protocols. Implementations: backends/, objects.py, scoring.py."""

from services.gateway.ports.generator import (
    GeneratedImage,
    GenerationEvent,
    GenerationFailure,
    GenerationItem,
    GenerationPreview,
    GenerationProgress,
    GeneratorPort,
    Priority,
)
from services.gateway.ports.models import AdapterInfo, GenerationLimits, LoadState, ModelInfo
from services.gateway.ports.objects import ObjectStore
from services.gateway.ports.refiner import RefinerPort, StrategyInfo
from services.gateway.ports.scorer import (
    CandidateScores,
    DifferenceVector,
    EmbeddingVector,
    FitOutcome,
    MetricCatalog,
    MetricInfo,
    ProfileHeads,
    RankedDifferences,
    ScorerPort,
    ScoreSubject,
)

__all__ = [
    "AdapterInfo",
    "CandidateScores",
    "DifferenceVector",
    "EmbeddingVector",
    "FitOutcome",
    "GeneratedImage",
    "GenerationEvent",
    "GenerationFailure",
    "GenerationItem",
    "GenerationLimits",
    "GenerationPreview",
    "GenerationProgress",
    "GeneratorPort",
    "LoadState",
    "MetricCatalog",
    "MetricInfo",
    "ModelInfo",
    "ObjectStore",
    "Priority",
    "ProfileHeads",
    "RankedDifferences",
    "RefinerPort",
    "ScoreSubject",
    "ScorerPort",
    "StrategyInfo",
]
