"""Builds the strategies that a profile and the settings allow, and finds them by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from services.common.errors import NotFoundError, Reason, UnavailableError
from services.common.language_model import LanguageModel
from services.common.profile import Captioner as CaptionerProfile
from services.common.profile import Profile, models_dir, resolve_source, weights_digest
from services.common.settings import Settings
from services.refiner.domain import LanguageModelInfo
from services.refiner.strategies.base import Strategy
from services.refiner.strategies.llm import LanguageModelStrategy, LanguageModelUnderstander
from services.refiner.strategies.repainter import Repainter
from services.refiner.understanding.base import Captioner
from services.refiner.understanding.caption_understander import CachedUnderstander, CaptionUnderstander
from services.refiner.understanding.parsing import PromptParser
from services.refiner.understanding.tree_builder import TreeBuilder
from services.refiner.vocabulary import load_vocabulary


class Registry:
    """Strategies by id."""

    def __init__(self, strategies: Iterable[Strategy]) -> None:
        self._strategies: Mapping[str, Strategy] = {strategy.info.id: strategy for strategy in strategies}

    def get(self, strategy_id: str) -> Strategy:
        """The strategy of an id.

        Raises:
            NotFoundError: STRATEGY_NOT_FOUND, naming the known ids.
        """
        strategy = self._strategies.get(strategy_id)
        if strategy is None:
            raise NotFoundError(
                Reason.STRATEGY_NOT_FOUND, "strategy", strategy_id, field="strategy", known=self._strategies
            )
        return strategy

    def all(self) -> list[Strategy]:
        """Strategies in the order of the profile."""
        return list(self._strategies.values())


def build_registry(settings: Settings, profile: Profile) -> Registry:
    """Loads the models of the profile's strategies.

    "repainter" needs the profile's captioner. "llm" is offered when LIKENESS_LLM_BASE_URL is set, in any profile.

    Raises:
        UnavailableError: a model cannot be loaded; says which.
    """
    strategies: list[Strategy] = []
    if "repainter" in profile.strategies and profile.captioner is not None:
        parser = PromptParser(load_vocabulary(models_dir(settings)))
        captioner, model = _load_captioner(settings, profile.captioner, parser)
        understander = CachedUnderstander(CaptionUnderstander(captioner, TreeBuilder(parser)))
        strategies.append(Repainter(understander, parser, model))
    if settings.llm_base_url:
        language_model = LanguageModel(
            settings.llm_base_url,
            settings.llm_model,
            settings.llm_api_key,
            timeout_seconds=settings.request_timeout_seconds / 2,
        )
        cached = CachedUnderstander(LanguageModelUnderstander(language_model))
        strategies.append(LanguageModelStrategy(language_model, cached))
    return Registry(strategies)


def _load_captioner(
    settings: Settings, profile: CaptionerProfile, parser: PromptParser
) -> tuple[Captioner, LanguageModelInfo]:
    """The captioner of a profile; the embedded one has its CLIP as verifier. Only this imports torch."""
    source = resolve_source(settings, profile.source, embedded=profile.embedded)
    folder = Path(source)
    revision = weights_digest(folder) if folder.is_dir() else profile.revision or "main"
    shown = profile.source if not Path(profile.source).is_absolute() else Path(profile.source).name
    info = LanguageModelInfo(profile.id, revision, shown, profile.embedded, profile.license)
    try:
        import torch

        if settings.torch_threads:
            torch.set_num_threads(settings.torch_threads)
        if profile.kind == "embedded":
            from services.refiner.understanding.captioners import EmbeddedCaptions
            from services.refiner.understanding.clip_verifier import ClipVerifier
            from services.refiner.understanding.verified_captions import VerifiedCaptions

            clip = Path(resolve_source(settings, profile.clip_source or "clip-embedded", embedded=profile.embedded))
            captioner = EmbeddedCaptions.load(folder, clip)
            # Another CLIP sees other things: it is part of what the captions depend on.
            info = replace(info, revision=f"{revision[:8]}{weights_digest(clip)[:8]}")
            return VerifiedCaptions(captioner, ClipVerifier.load(clip), parser), info
        from services.refiner.understanding.image_to_text import ImageToTextCaptions, pick_device

        device = pick_device(settings.device)
        return ImageToTextCaptions.load(source, revision=profile.revision, dtype=profile.dtype, device=device), info
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UnavailableError(
            Reason.MODEL_UNAVAILABLE,
            f"the captioner {profile.id} cannot be loaded from {shown!r} ({type(error).__name__})",
        ) from error
