"""Runs as they lie in their folders, small enough to be counted by hand."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from repic.files import write_lines
from repic.metrics.column import as_rows
from repic.metrics.kept import FILE, write_scores
from repic.metrics.suite import MetricSuite
from repic.phases.summary import plain
from repic.tables.paired import Comparison
from repic.tables.runs import Curve, Labels, Phase, Run, read_run
from repic.tables.test_set import describe_test_set
from repic.types import Example, Prediction

AUTHORS = {
    "name_everybody": Labels("names everybody", "names everybody", is_shared=True, has_model=False),
    "base": Labels("base model", "base model", is_shared=True, has_model=True),
    "model": Labels("model", "model", is_shared=False, has_model=True),
    "sft": Labels("SFT only", "SFT", is_shared=True, has_model=True),
    "grpo": Labels("+ RL", "RL", is_shared=False, has_model=True),
}
VALIDATION = Curve("CIDEr on validation", r"val/(\d)/cider")
PHASES = (
    Phase(
        "sft", "c1", "f1", "00", "SFT only", "SFT",
        (VALIDATION, Curve("SFT loss", "sft/(loss)")),
    ),
    Phase(
        "grpo", "c2", "f2", "f1", "+ RL", "RL",
        (
            Curve("Reward", "grpo/reward/(.+)", among="grpo/advantage_share/"),
            Curve("Accuracy on validation", r"val/(\d)/accuracy"),
            VALIDATION,
            Curve("KL to the reference", "grpo/(kl)"),
        ),
    ),
)  # fmt: skip

# A run that lies in no folder; tests say with ``replace`` what theirs is like.
RUN = Run(Path("x"), "x", 0, (), {}, None, 1.0, PHASES, {}, authors=AUTHORS)

# Which scenes two models of one run get right.
WORSE, BETTER = [False] * 6 + [True] * 2, [True] * 6 + [True] * 2

POOL = ("<momi>", "<tavo>", "<lidu>")
SETTINGS = {
    "phase.evaluate.split": "test",
    "phase.evaluate.per_count": 4,
    "metrics.tokenizer": "words",
}
RIGHT = {
    name: f"{name} sits beside a {colour} box"
    for name, colour in zip(POOL, ("red", "blue", "green"), strict=True)
}


def predictions(
    phase: str,
    right: Sequence[bool],
    *,
    count: int = 1,
    pool: tuple[str, ...] = POOL,
    rewards: Mapping[str, float | None] | None = None,
    split: str = "test",
) -> list[Prediction]:
    """A caption a scene; a wrong one names nobody."""
    found = []
    for i, is_right in enumerate(right):
        present = tuple(POOL[(i + k) % 3] for k in range(count))
        kept = {"names": float(is_right), "cider": 0.5, "box": None}
        answer = " and ".join(RIGHT[name] for name in present)
        found.append(
            Prediction(
                id=f"{split}/{i}",
                phase=phase,
                task="caption",
                num_concepts=count,
                prompt="Who is it?",
                images=(f"{split}/{count}/{i}/ref@1", f"{split}/{count}/{i}/scene@1"),
                caption=answer if is_right else f"a toy number {i}",
                answers=(answer,),
                present=present,
                pool=pool,
                rewards=kept if rewards is None else rewards,
            )
        )
    return found


def caption_of(example: Example, phase: str, text: str, **changes: Any) -> Prediction:
    """What a model says of an example."""
    return Prediction(
        id=example.id, phase=phase, task=example.task, num_concepts=example.num_concepts, prompt="",
        images=tuple(image.key for image in example.images), caption=text, answers=example.answers,
        present=example.present, pool=example.pool, **changes,
    )  # fmt: skip


def leave(
    folder: Path,
    metrics: Mapping[str, Any],
    captions: Sequence[Prediction],
    rows: Sequence[Mapping[str, Any]] = (),
    **said: Any,
) -> None:
    """Write a run's summary, what ``said`` says of it included, its captions, and its numbers."""
    summary = {
        "name": "toys", "seed": 0, "git_commit": None, "time_s": 1.0, "phases": [],
        "overrides": [], "choices": {"reward": "combined"},
        "captioners": {name: asdict(AUTHORS[name]) for name in metrics},
        "metrics": plain(metrics), "test_set": describe_test_set(captions, {}), **said,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    write_lines(folder / "predictions.jsonl", [asdict(caption) for caption in captions])
    if rows:
        write_lines(folder / "metrics.jsonl", [dict(row) for row in rows])


def save_run(
    folder: Path,
    captions: Sequence[Prediction],
    *,
    seed: int = 0,
    choices: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    settings: Mapping[str, Any] = SETTINGS,
    suite: MetricSuite | None = None,
) -> Run:
    """Write a run's summary, captions and scores."""
    suite = suite or MetricSuite(
        counts=[1], captions=[], tokenizer="words", scorers={}, bootstrap_samples=20,
        confidence=0.95, seed=0,
    )  # fmt: skip
    scores = {
        phase: suite.measure([caption for caption in captions if caption.phase == phase])
        for phase in dict.fromkeys(caption.phase for caption in captions)
    }
    metrics = {phase: suite.cells(found) for phase, found in scores.items()}
    leave(
        folder, metrics, captions,
        seed=seed, overrides=[*overrides, f"seed={seed}"],
        choices={"reward": "combined", **(choices or {})},
        columns=as_rows(suite.columns), test_set=describe_test_set(captions, settings),
    )  # fmt: skip
    write_scores(folder / FILE, scores)
    return read_run(folder)


def compare(samples: int = 300, **options: Any) -> Comparison:
    return Comparison(num_samples=samples, seed=0, **options)


def run_of(folder: Path, *rights: tuple[str, Sequence[bool]], **options: Any) -> Run:
    captions = [p for phase, right in rights for p in predictions(phase, right)]
    return save_run(folder, captions, **options)
