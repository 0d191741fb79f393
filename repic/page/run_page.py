"""The page of one run, from what the run has left in its folder."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from repic.metrics.caption_files import read_predictions
from repic.page import gallery
from repic.page.cards import Fact, Opening, SceneCard
from repic.page.curves import learning_curves
from repic.page.page import write_report
from repic.tables.ablation import Ablation
from repic.tables.columns import ALL
from repic.tables.layouts import summary_tables
from repic.tables.runs import Run, read_metrics, read_run
from repic.types import Example, Prediction
from repic.words import counted


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
    predictions = read_predictions(folder)
    path = folder / "report.html"
    scenes = scene_cards(run, predictions, examples, scenes_per_count)
    write_report(
        path,
        title=run.name.replace("_", " ").capitalize(),
        subtitle=f"seed {run.seed} · {' '.join(run.overrides) or 'no overrides'}",
        summary=headline(run),
        tables=run_tables(run),
        curves=learning_curves(run, read_metrics(folder)),
        scenes=scenes,
        about=about(run),
        opening=opening(run, scenes),
    )
    return path


def last_models(run: Run) -> list[str]:
    """The model after the last phase behind the one before it, or alone if there is no other.

    Of systems that stand beside each other none is what another has become; where there is no
    phase's model, the last one stands alone.
    """
    phases = {phase.phase for phase in run.phases}
    seeing = [name for name in run.metrics if run.authors[name].has_model]
    return [name for name in seeing if name in phases][-2:] or seeing[-1:]


def opening(run: Run, scenes: Sequence[SceneCard]) -> Opening | None:
    """The first of a page's scenes in which the last phase changed who is named.

    Whether for better or for worse is not asked. None where no phase changed a name.
    """
    labels = [run.authors[name].label for name in last_models(run)]
    for scene in scenes:
        captions = [caption for caption in scene.captions if caption.author in labels]
        outcomes = [scene.outcome(caption) for caption in captions]
        if len(outcomes) == 2 and outcomes[0] != outcomes[1]:
            before, after = (run.authors[name].short for name in last_models(run))
            return Opening(
                f"What changed from {before} to {after}",
                replace(scene, captions=tuple(captions)),
                "The first of the scenes below in which they differ in whom they name.",
            )
    return None


def headline(run: Run) -> list[Fact]:
    """Before and after the last phase; or its model alone, if there is no other."""
    facts = []
    for count in ("1", "3", "5", ALL):
        metric, label = ("cider", "CIDEr") if count == ALL else ("accuracy", "Recognition, %")
        cells = {name: run.metrics[name].get(count, {}).get(metric) for name in last_models(run)}
        numbers = {n: v for n, v in cells.items() if isinstance(v, float) and not math.isnan(v)}
        if numbers:
            what = "all scenes" if count == ALL else counted(int(count), "concept")
            who = " to ".join(run.authors[name].short for name in numbers)
            who = f"from {who}" if len(numbers) > 1 else who
            value = " → ".join(f"{number:.1f}" for number in numbers.values())
            facts.append(Fact(f"{label}, {what}", value, who))
    return facts


def run_tables(run: Run) -> list[Ablation]:
    """Recognition with CIDEr, CIDEr by number of concepts, names, and other caption metrics.

    What needs references is shown where there are some.
    """
    return list(summary_tables([run]).values()) if run.metrics else []


def scene_cards(
    run: Run, predictions: Sequence[Prediction], examples: Iterable[Example], per_count: int
) -> list[SceneCard]:
    """The first scenes of every number of concepts, with what each model says of them."""
    scenes: dict[gallery.SceneKey, dict[str, Prediction]] = {}
    for p in predictions:
        author = run.authors[p.phase]
        if author.has_model:
            scenes.setdefault(gallery.key_of(p), {})[author.label] = p
    counts = {key.num_concepts for key in scenes}
    keys = gallery.choose(scenes, dict.fromkeys(counts, per_count))
    by_key = {gallery.key_of(example): example for example in examples}
    return [gallery.scene_card(key, scenes[key], by_key.get(key)) for key in keys]


def about(run: Run) -> dict[str, str]:
    """Where the numbers come from: configuration, code, and which model started from which."""
    lineage = {
        f"model: {phase.label}": (
            f"{phase.checkpoint} · fingerprint {phase.fingerprint[:12]}"
            + (f" · from {phase.started_from[:12]}" if phase.started_from else "")
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
