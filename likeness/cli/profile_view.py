"""Personal metrics in the terminal: agreement with a person as in the CLPIPS paper's tables, profiles, versions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from likeness import Alignment, AlignmentGain, Coefficient, FitReport, Profile, ProfileVersion
from likeness._numbers import age_text, gain_text, interval_text, p_text, score_text
from likeness.cli.output import Output

_REVISION_CHARACTERS = 8


def show_report(profile: Profile, version: ProfileVersion, output: Output) -> None:
    """How a version was found: LPIPS, the learned metric and the gain for every coefficient, and the decision."""
    state = "active" if version.number == profile.active.number else f"not active: {profile.active.number} is"
    head = Text.assemble((f"{profile.metric} version {version.number}", "bold"), f"  {state}")
    output.say(head + Text(f"  on {profile.base_metric}, revision {version.revision}", style="dim"))
    report = version.report
    if report is None:
        output.say(f"No report: its weights are a copy of those of {profile.parent or profile.base_metric}.")
        return
    output.say(f"learned from {_count(report.ranking_count, 'ranking')} of {_count(report.target_count, 'target')}")
    if report.lpips and report.learned:
        output.say()
        rows = _rows(report, report.lpips, report.learned)
        output.table(("held out", "", ">value", "95 % CI", ">p", "band"), rows)
        output.say()
    output.say(Text.assemble(("Decision  ", "bold"), report.explanation))


def _rows(report: FitReport, lpips: Alignment, learned: Alignment) -> Iterator[Sequence[str]]:
    for label, name in (("Spearman rho", "spearman"), ("ICC(2,k)", "agreement"), ("ICC(3,k)", "consistency")):
        yield label, "LPIPS", *_cells(getattr(lpips, name))
        yield "", "learned", *_cells(getattr(learned, name))
        gain: AlignmentGain | None = getattr(report, f"{name}_gain")
        if gain:
            yield "", "gain", gain_text(gain.difference), interval_text(gain.low, gain.high), p_text(gain.p), ""


def _cells(item: Coefficient) -> Sequence[str]:
    return score_text(item.value), interval_text(item.low, item.high), p_text(item.p), item.band


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show_profiles(profiles: Sequence[Profile], output: Output) -> None:
    """One line a profile."""
    rows = [
        (
            item.metric,
            item.parent or item.base_metric,
            str(item.ranking_count),
            f"{item.active.number} of {item.version_count}",
            score_text(item.active.report.fitted_icc2k if item.active.report else None),
            age_text(item.update_time),
            item.display_name,
        )
        for item in profiles
    ]
    output.table(("metric", "starts from", ">rankings", ">version", ">ICC(2,k)", ">changed", "name"), rows)


def show_versions(profile: Profile, versions: Sequence[ProfileVersion], output: Output) -> None:
    """One line a version, the active one marked."""
    rows = []
    for item in versions:
        mark = "*" if item.number == profile.active.number else " "
        found = _found(item.report) if item.report else ("-", "-", "-", "start")
        rows.append((f"{mark} {item.number}", item.revision[:_REVISION_CHARACTERS], *found, age_text(item.create_time)))
    output.table(("  version", "revision", ">rankings", ">ICC(2,k)", ">LPIPS", "decision", ">made"), rows)


def _found(report: FitReport) -> Sequence[str]:
    agreements = score_text(report.fitted_icc2k), score_text(report.lpips_icc2k)
    return str(report.ranking_count), *agreements, report.decision.replace("_", " ")
