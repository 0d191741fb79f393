"""A method from its first phase to its summary."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from repic import distributed, files
from repic.page.run_page import write_run_report
from repic.phases.context import Context, TrainedModel
from repic.phases.evaluate import (
    WRITERS_WITHOUT_MODEL,
    Evaluation,
    Scores,
    prediction_rows,
)
from repic.phases.loggers import log_images
from repic.phases.summary import plain
from repic.tables.test_set import describe_test_set
from repic.types import Prediction

log = logging.getLogger(__name__)


def run_method(
    context: Context,
    *,
    base: TrainedModel | None,
    phases: Mapping[str, Any],
    evaluated: Sequence[str],
    evaluation: Evaluation,
    record: Mapping[str, Any],
) -> None:
    """Train, caption, score, and write ``predictions.jsonl`` and ``summary.json``.

    Args:
        context: the run.
        base: the model to start from; None for methods that need none.
        phases: in the order in which they run, each from the model of the one before.
        evaluated: "base" or "model", names of phases, or of what captions without a model; a
            phase that does not run is passed over.
        evaluation: how.
        record: what the summary says of the run beside its results.
    """
    begun = time.perf_counter()
    for part in (*phases.values(), evaluation):
        part.check(context)
    stages = {} if base is None else {base.phase: base}
    stage = base or TrainedModel("nothing", "", "", None, 0.0)
    for name, phase in phases.items():
        stage = phase.run(context, stage)
        stages[name] = stage
    for name in WRITERS_WITHOUT_MODEL:
        stages[name] = TrainedModel(name, "", name, None, 0.0)
    predictions: list[Prediction] = []
    scores: dict[str, Scores] = {}
    for name in evaluated:
        if name in stages:
            rows, scores[name] = evaluation.evaluate(stages[name], context)
            predictions += rows
    if distributed.rank() == 0:
        files.write_lines(context.folder / "predictions.jsonl", list(prediction_rows(predictions)))
        summary = {
            **record,
            "time_s": round(time.perf_counter() - begun, 1),
            "split": evaluation.split,
            "decoding": {
                name: evaluation.decoding(stages[name])
                for name in scores
                if stages[name].checkpoint
            },
            "test_set": describe_test_set(predictions, evaluation.settings()),
            "phases": [s.record() for n, s in stages.items() if n not in WRITERS_WITHOUT_MODEL],
            "metrics": plain(scores),
            "left_out": evaluation.metrics.scorer.left_out,
        }
        files.write_json(context.folder / "summary.json", summary)


def show(context: Context, evaluation: Evaluation, *, scenes_per_count: int, scale: float) -> None:
    """Write ``report.html``, and send its scenes to loggers that take pictures.

    Args:
        context: the run, whose summary is written.
        evaluation: knows the scenes.
        scenes_per_count: of each number of concepts; the first ones.
        scale: the resolution that drawn scenes are shown at.
    """
    examples = [
        example
        for count in evaluation.metrics.counts
        for example in evaluation.scenes(context, count, scale=scale)[:scenes_per_count]
    ]
    write_run_report(context.folder, examples=examples, scenes_per_count=scenes_per_count)
    said: dict[str, list[str]] = {}
    for row in files.read_lines(context.folder / "predictions.jsonl"):
        said.setdefault(row["id"], []).append(f"{row['phase']}: {row['caption']}")
    shown = [example for example in examples if example.query is not None and example.id in said]
    for logger in context.loggers:
        pictures = [example.query.load() for example in shown if example.query]
        log_images(logger, "scenes", pictures, ["\n".join(said[e.id]) for e in shown])
