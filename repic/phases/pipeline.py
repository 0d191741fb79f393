"""A method from its first phase to its summary."""

import gc
import logging
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from repic import distributed, files
from repic.captioners.captioner import (
    Answering,
    Captioner,
    Cost,
    Enrolling,
    Labels,
    cost_table,
    describe,
)
from repic.captioners.friends import check_friends, enroll_all
from repic.captioners.model import ModelCaptioner
from repic.captioners.system import System
from repic.data.clips import CONTROLS
from repic.metrics.column import as_rows
from repic.metrics.kept import FILE as SCORES
from repic.metrics.kept import write_scores
from repic.models.generation import describe as describe_sampling
from repic.models.generation import left_out
from repic.page.run_page import write_run_report
from repic.phases.context import Context, TrainedModel
from repic.phases.evaluate import Evaluated, Evaluation
from repic.phases.loggers import log_images
from repic.phases.phase import Phase
from repic.phases.summary import plain
from repic.tables.table import Table
from repic.tables.test_set import describe_test_set
from repic.tables.write import show_table

log = logging.getLogger(__name__)

# What a run starts from is its base model; what it only captions with may be anybody's.
BASE, MODEL = "base", "model"
STARTS = {
    BASE: Labels("base model", "base model", is_shared=True, has_model=True),
    MODEL: Labels("model", "model", is_shared=False, has_model=True),
}


# What decides no caption: the model's files are in its fingerprint, and prompts are told in full.
BESIDE_CAPTIONS = tuple(
    f"model.{key}"
    for key in ("path", "prompt", "lora", "train_vision", "export", "gradient_checkpointing")
)


class Questions(Protocol):
    """What is asked beside captions.

    Attributes:
        name: of its table's files, and of what the summary says of it.
    """

    name: str

    def check(self) -> None:
        """Refuse what cannot be asked before anything is computed."""
        ...

    def evaluate(self, name: str, captioner: Answering, context: Context, known: str) -> Any:
        """Ask a captioner, and say how well it answered.

        Args:
            name: what it is called.
            captioner: who answers.
            context: the run.
            known: hash of what it knows of friends; empty where it was told of none.
        """
        ...

    def table(self, found: Any, labels: Mapping[str, str]) -> Table:
        """Show what captioners gave, by name; of who answers no questions that is None."""
        ...


@dataclass(frozen=True)
class RunParts:
    """All that a run is made of.

    Attributes:
        context: the run.
        start: the model to start from; None for methods that need none.
        phases: in the order in which they run, each from the model of the one before.
        captioners: by name, those that no phase makes.
        evaluated: whose captions are scored: names of ``STARTS``, of phases and of captioners. A
            phase that does not run is passed over.
        evaluation: how.
        questions: what is asked beside captions, if anything.
    """

    context: Context
    start: TrainedModel | None
    phases: Mapping[str, Phase]
    captioners: Mapping[str, Captioner | System]
    evaluated: Sequence[str]
    evaluation: Evaluation
    questions: Questions | None = None


def run_method(parts: RunParts, record: Mapping[str, Any]) -> None:
    """Train, caption, score, and write ``predictions.jsonl`` and ``summary.json``.

    The summary holds, beside what ``record`` says and scores by captioner, number of concepts and
    metric: ``phases``, a list of the models there are, with the label, short label and curves that
    each phase declares (see ``repic.phases.phase``); and ``captioners``, by the name that scores
    are filed under, what each declares (see ``repic.captioners.captioner``).
    """
    begun = time.perf_counter()
    context, evaluation = parts.context, parts.evaluation
    check(parts)
    model = parts.start or TrainedModel("nothing", "", "", None, 0.0)
    captioners: dict[str, Any] = dict(parts.captioners)
    models = []
    if parts.start is not None:
        labels = STARTS[model.phase]
        captioners[model.phase] = captioner_of(model, labels, context, evaluation)
        models.append({**model.record(), "label": labels.label, "short": labels.short})
    for name, phase in parts.phases.items():
        model = phase.run(context, model)
        captioners[name] = captioner_of(model, phase.caption_labels, context, evaluation)
        models.append({**model.record(), **phase.describe()})
    found, answered, costs = evaluate_all(parts, captioners)
    if distributed.rank() == 0:
        predictions = [prediction for part in found.values() for prediction in part.predictions]
        files.write_lines(context.folder / "predictions.jsonl", list(map(asdict, predictions)))
        measured = {name: part.measured for name, part in found.items() if part.measured}
        write_scores(context.folder / SCORES, measured)
        summary = {
            **record,
            "time_s": round(time.perf_counter() - begun, 1),
            "split": evaluation.split,
            "decoding": {
                name: captioner.decoding
                for name, captioner in captioners.items()
                if name in found and captioner.decoding
            },
            "test_set": describe_test_set(predictions, evaluation.settings()),
            "phases": models,
            "captioners": {name: describe(captioners[name], costs[name]) for name in found},
            "metrics": plain({name: part.cells for name, part in found.items()}),
            **({parts.questions.name: plain(answered)} if parts.questions else {}),
            "columns": as_rows(evaluation.metrics.columns),
            "left_out": evaluation.metrics.scorer.left_out,
        }
        if parts.questions is not None:
            labels = {name: captioners[name].labels.label for name in found}
            table = parts.questions.table(answered, labels)
            show_table(context.folder, parts.questions.name, table)
        if any(isinstance(captioners[name], System) for name in found):
            table = cost_table({captioners[name].labels.label: costs[name] for name in found})
            show_table(context.folder, "costs", table)
        files.write_json(context.folder / "summary.json", summary)


def check(parts: RunParts) -> None:
    """Refuse what is impossible before anything is computed."""
    for phase in parts.phases.values():
        phase.check_strategy(parts.context.strategy, parts.context.engine)
    for part in (*parts.phases.values(), parts.evaluation):
        part.check(parts.context)
    if parts.questions is not None:
        parts.questions.check()
    refuse_equal_labels(parts)
    models = [*([parts.start.phase] if parts.start else []), *parts.phases]
    for name, captioner in parts.captioners.items():
        on = getattr(captioner, "on", None)
        if on is not None and on not in models:
            raise ValueError(
                f"captioner.{name}.on: {on!r} is no model of this run: {', '.join(models)}"
            )
        if (needs := getattr(captioner, "needs", None)) is not None:
            check_friends(name, needs, parts.context.friends())
        if isinstance(captioner, System) and captioner.needs:
            for friend in parts.context.friends():
                captioner.check(friend)


def refuse_equal_labels(parts: RunParts) -> None:
    """Raise for two who are evaluated under one label: a page would show one of them alone."""
    labels = {name: phase.label for name, phase in parts.phases.items()}
    labels |= {name: captioner.labels.label for name, captioner in parts.captioners.items()}
    if parts.start is not None:
        labels[parts.start.phase] = STARTS[parts.start.phase].label
    called: dict[str, str] = {}
    for name in (name for name in parts.evaluated if name in labels):
        if (other := called.setdefault(labels[name], name)) != name:
            raise ValueError(
                f"method.evaluated: {other} and {name} are both called {labels[name]!r}, and tables"
                " and pages tell them apart by that; give one of them another label"
            )


def evaluate_all(
    parts: RunParts, captioners: dict[str, Any]
) -> tuple[dict[str, Evaluated], dict[str, Any], dict[str, Cost]]:
    """Let everybody who is evaluated meet the friends, caption, and answer what is asked.

    A model is let go of before the next one is loaded.

    Args:
        parts: the run.
        captioners: by name; systems get their models.

    Returns:
        Captions and scores, what was answered, and what a friend costs, by captioner.
    """
    context, found, answered, costs = parts.context, {}, {}, {}
    for name, captioner in captioners.items():
        if isinstance(captioner, System):
            assert parts.start is not None  # whoever stands on a model wants one
            captioners[name] = captioner.bind(captioners[captioner.on or parts.start.phase])
    for name in (name for name in parts.evaluated if name in captioners):
        captioner, known = captioners[name], ""
        if isinstance(captioner, Enrolling):
            known = enroll_all(name, captioner, context.friends, context.cache / "friends")
        found[name] = parts.evaluation.evaluate(name, captioner, context, known)
        if parts.questions is not None:
            answered[name] = None
            if isinstance(captioner, Answering):
                answered[name] = parts.questions.evaluate(name, captioner, context, known)
            else:
                log.info("%s answers no questions", name)
        if isinstance(captioner, ModelCaptioner):
            for control in parts.evaluation.controls:
                less = copy(captioner)  # the weights that it has loaded are not loaded again
                less.labels = captioner.labels.of(CONTROLS[control])
                key = f"{name}_{control}"
                captioners[key] = less
                found[key] = parts.evaluation.evaluate(key, less, context, control=control)
                costs[key] = less.cost()
                less.release()
        costs[name] = captioner.cost()
        if isinstance(captioner, ModelCaptioner | System):
            captioner.release()
            gc.collect()  # a model with new tokens and these refer to each other
    return found, answered, costs


def captioner_of(
    model: TrainedModel, labels: Labels, context: Context, evaluation: Evaluation
) -> ModelCaptioner:
    """Caption with a model as an evaluation does."""
    sampling = evaluation.sampling
    parts = ("model", "engine", "phase.evaluate.sampling")
    settings = context.settings_key(*parts, without=BESIDE_CAPTIONS)
    return ModelCaptioner(
        labels,
        key=files.key_of([model.fingerprint, settings]),
        load=lambda: context.load_policy(path=model.checkpoint).to(context.device),
        engine=context.engine,
        decoding=describe_sampling(sampling, left_out(model.checkpoint, sampling)),
        sampling=sampling,
        batch_size=evaluation.batch_size,
        model_key=files.key_of(
            [
                model.fingerprint,
                context.settings_key("model", "data.prompt", without=BESIDE_CAPTIONS),
            ]
        ),
    )


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
    for row in files.read_lines(
        context.folder / "predictions.jsonl", id=str, phase=str, caption=str
    ):
        said.setdefault(row["id"], []).append(f"{row['phase']}: {row['caption']}")
    shown = [example for example in examples if example.query is not None and example.id in said]
    for logger in context.loggers:
        pictures = [example.query.load() for example in shown if example.query]
        log_images(logger, "scenes", pictures, ["\n".join(said[e.id]) for e in shown])
