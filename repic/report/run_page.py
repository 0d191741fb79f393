"""The page of one run, from what the run has left in its folder."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from repic.report.cards import BoxCard, CaptionCard, Fact, ReferenceCard, SceneCard
from repic.report.chart import Chart, Line, smooth
from repic.report.forms import has_values, summary_tables
from repic.report.page import write_report
from repic.report.runs import MetricRow, Run, read_metrics, read_predictions, read_run
from repic.report.tables import ALL, LABELS, Table
from repic.types import Example, Prediction

# Phases whose captions are shown, and as whose: the names everybody has no picture of.
AUTHORS = {"base": "base model", "model": "model", "sft": "before RL (SFT)", "grpo": "after RL"}

SHORT = {"base": "base model", "model": "model", "sft": "SFT", "grpo": "RL"}

# A dataset may count its examples anew for every number of concepts.
SceneKey = tuple[str, int]

SHARE = "grpo/advantage_share/"  # logged of components with a weight alone

# Title, and which keys are its lines; a line is called by what the pattern's group holds.
CURVES = (
    ("Reward", re.compile(r"grpo/reward/(.+)")),
    ("Recognition accuracy (%) on validation", re.compile(r"val/(\d)/accuracy")),
    ("CIDEr on validation", re.compile(r"val/(\d)/cider")),
    ("KL to the reference", re.compile(r"grpo/(kl)")),
    ("Caption length, tokens", re.compile(r"grpo/(length)")),
    ("Entropy, nats per token", re.compile(r"grpo/(entropy)")),
    ("Share of clipped tokens", re.compile(r"grpo/(clip_frac)")),
    ("SFT loss", re.compile(r"sft/(loss)")),
    ("Loss of the vision tower, a square", re.compile(r"pretrain_vision/(loss)")),
    ("Pre-training loss", re.compile(r"pretrain/(loss)")),
)


def write_run_report(
    folder: Path, *, examples: Iterable[Example] = (), scenes_per_count: int = 4
) -> Path:
    """Write ``report.html`` into a run's folder.

    Args:
        folder: of a finished run.
        examples: those that were captioned, for their pictures, boxes and references; best drawn
            at display resolution. Captions without an example are shown without pictures.
        scenes_per_count: how many scenes of each number of concepts; the first ones, so that no
            one has picked them.

    Returns:
        The page's path.
    """
    run = read_run(folder)
    by_scene = {(example.id, example.num_concepts): example for example in examples}
    path = folder / "report.html"
    write_report(
        path,
        title=run.name.replace("_", " ").capitalize(),
        subtitle=f"seed {run.seed} · {' '.join(run.overrides) or 'no overrides'}",
        summary=headline(run),
        tables=run_tables(run),
        curves=learning_curves(read_metrics(folder)),
        scenes=scene_cards(read_predictions(folder), by_scene, scenes_per_count),
        about=about(run),
    )
    return path


def headline(run: Run) -> list[Fact]:
    """Before and after RL; or the last model alone, if there is nothing to compare it with."""
    trained = [phase for phase in ("base", "model", "sft", "grpo") if phase in run.metrics]
    if not trained:
        return []
    before, after = trained[max(0, len(trained) - 2)], trained[-1]
    facts = []
    for count in ("1", "3", "5", ALL):
        metric, label = ("cider", "CIDEr") if count == ALL else ("accuracy", "Recognition, %")
        values = [run.metrics[p].get(count, {}).get(metric) for p in dict.fromkeys((before, after))]
        numbers = [v for v in values if isinstance(v, float) and not math.isnan(v)]
        if numbers:
            what = "all scenes" if count == ALL else concepts(int(count))
            who = f"from {SHORT[before]} to {SHORT[after]}" if len(numbers) > 1 else SHORT[after]
            value = " → ".join(f"{number:.1f}" for number in numbers)
            facts.append(Fact(f"{label}, {what}", value, who))
    return facts


def run_tables(run: Run) -> list[Table]:
    """Recognition with CIDEr, CIDEr by number of concepts, names, and other caption metrics.

    What needs references is shown where there are some.
    """
    if not run.metrics:
        return []
    return [table for table in summary_tables([run]).values() if has_values(table)]


def learning_curves(rows: Sequence[MetricRow]) -> list[Chart]:
    """The charts that the logged keys give; those of which little was logged are left out.

    Each phase has its own, since it counts its iterations anew.
    """
    phases: dict[str, dict[str, dict[float, float]]] = {}
    for row in rows:
        series = phases.setdefault(row.phase, {})
        for key, value in row.values.items():
            series.setdefault(key, {})[float(row.iteration)] = value
    return [
        chart
        for title, pattern in CURVES
        for phase, series in phases.items()
        if (chart := _chart(title, pattern, phase, series))
    ]


def _chart(
    title: str, pattern: re.Pattern[str], phase: str, series: Mapping[str, Mapping[float, float]]
) -> Chart | None:
    found = [(m[1], series[key]) for key in series if (m := pattern.fullmatch(key))]
    shares = {key.removeprefix(SHARE) for key in series if key.startswith(SHARE)}
    if pattern.pattern.startswith("grpo/reward") and shares:
        # What is only measured (a length in characters) has other units than what is trained on.
        found = [(label, s) for label, s in found if label in shares or label == "total"]
    found.sort(key=lambda pair: (pair[0] != "total", pair[0]))
    lines = [smooth(Line(label, list(s), list(s.values()))) for label, s in found]
    if not any(len(line.xs) > 1 for line in lines):
        return None
    if pattern.pattern.startswith("val/"):  # several phases have these
        title = f"{title}, {SHORT.get(phase, phase)}"
        lines = [Line(concepts(int(line.label)), line.xs, line.ys) for line in lines]
    return Chart(title, "iteration", tuple(lines))


def scene_cards(
    predictions: Sequence[Prediction], examples: Mapping[SceneKey, Example], per_count: int
) -> list[SceneCard]:
    """The first scenes of every number of concepts, with what each phase says of them."""
    by_scene: dict[SceneKey, list[Prediction]] = {}
    for prediction in predictions:
        if prediction.phase in AUTHORS:
            key = (prediction.id, prediction.num_concepts)
            by_scene.setdefault(key, []).append(prediction)
    shown = [
        key
        for count in sorted({count for _, count in by_scene})
        for key in [key for key in by_scene if key[1] == count][:per_count]
    ]
    return [_scene_card(by_scene[key], examples.get(key)) for key in shown]


def about(run: Run) -> dict[str, str]:
    """Where the numbers come from: configuration, code, and which model started from which."""
    lineage = {
        f"model: {LABELS.get(str(phase.get('phase')), phase.get('phase'))}": (
            f"{phase.get('checkpoint')} · fingerprint {str(phase.get('fingerprint'))[:12]}"
            + (f" · from {str(phase['started_from'])[:12]}" if phase.get("started_from") else "")
        )
        for phase in run.phases
    }
    return {
        "configuration": ", ".join(f"{k}={v}" for k, v in run.choices.items()),
        "overrides": " ".join(run.overrides) or "none",
        "seed": str(run.seed),
        "code": run.git_commit or "not under version control",
        "time": f"{run.time_s / 60:.1f} minutes",
        **lineage,
    }


def concepts(count: int) -> str:
    """Count concepts in words.

    Example:
        >>> concepts(1), concepts(3)
        ('1 concept', '3 concepts')
    """
    return f"{count} concept{'' if count == 1 else 's'}"


def _scene_card(captions: Sequence[Prediction], example: Example | None) -> SceneCard:
    first = captions[0]
    introduced = {r.name: r for r in example.references} if example else {}
    scene = example.scene if example else None
    return SceneCard(
        id=first.id,
        num_concepts=first.num_concepts,
        image=example.query if example else None,
        boxes=tuple(BoxCard(m.box, m.name) for m in scene.mentions if m.box) if scene else (),
        references=tuple(
            ReferenceCard(
                name=name,
                info=introduced[name].info if name in introduced else None,
                image=introduced[name].image if name in introduced else None,
                is_present=name in first.present,
            )
            for name in first.pool
        ),
        captions=tuple(
            CaptionCard(AUTHORS[p.phase], p.caption, p.rewards, p.finished) for p in captions
        ),
        answer=first.answers[0] if first.answers else None,
    )
