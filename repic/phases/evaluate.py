"""Write captions with a model, or without one, and score them for each number of concepts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from repic.data.module import Examples
from repic.data.wrong_references import FIELDS, RIGHT, WrongReferences
from repic.phases import distributed, store
from repic.phases.context import Context, Stage
from repic.types import Example, Prediction, Rollout

log = logging.getLogger(__name__)


Scores = dict[str, dict[str, Any]]  # number of concepts → metric → value


class Answer(NamedTuple):
    """One written caption.

    ``finished`` is False when it was cut at the longest length; ``token_ids`` are the model's,
    with the end token, and none where no model wrote it.
    """

    text: str
    finished: bool
    token_ids: tuple[int, ...] = ()


def sample_texts(
    policy: Any, engine: Any, examples: Sequence[Example], *, batch_size: int, sampling: Any
) -> list[Answer]:
    """Answer in batches, one answer an example; ranks share the examples out."""
    rank, ranks = distributed.rank(), distributed.world_size()
    mine = list(examples[rank::ranks])
    answers = []
    for first in range(0, len(mine), batch_size):
        batch = mine[first : first + batch_size]
        rollouts = engine.sample(policy, batch, group_size=1, sampling=sampling, seed=0)
        answers += [Answer(r.text, r.finished, tuple(r.completion_ids.tolist())) for r in rollouts]
    return distributed.gather(answers)


def name_everybody(examples: Sequence[Example]) -> list[Answer]:
    """A policy without eyes: says every name of the prompt, whoever is there."""
    return [Answer(f"Here are {', '.join(example.pool)}.", True) for example in examples]


def evaluated_examples(
    dataset: Callable[..., Examples],
    *,
    split: str,
    count: int,
    per_count: int,
    seed: int,
    demonstrations: str,
    **drawn: float,
) -> Examples:
    """What an evaluation captions of one number of concepts; see ``Evaluation`` for the keys.

    Args:
        dataset: gives the examples of a split.
        split, per_count, seed, demonstrations: the evaluation's.
        count: the number of concepts.
        drawn: ``scale``, if the pictures shall have another resolution.
    """
    examples = dataset(split=split, counts=[count], size=per_count, seed=seed, **drawn)
    if demonstrations == RIGHT:
        return examples
    return WrongReferences(examples, kind=demonstrations, seed=seed)


WRITERS_WITHOUT_MODEL = {"name_everybody": name_everybody}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Captions of the same scenes from each of a run's models, and their scores.

    Attributes:
        split: "val" or "test".
        per_count: scenes of each number of concepts, or as many as there are.
        seed: which scenes; not the run's seed, so that runs are compared on the same ones.
        demonstrations: "right", or "wrong_images" or "wrong_infos" to exchange the references';
            see ``repic.data.wrong_references``.
        batch_size: scenes captioned at a time.
        sampling: how; greedily, as a rule.
        metrics: a ``MetricSuite``; it names the numbers of concepts, each scored by itself.
        rubric: adds each caption's raw reward parts to its record; None adds none.
    """

    split: str
    per_count: int
    seed: int
    batch_size: int
    sampling: Any
    metrics: Any
    rubric: Any
    demonstrations: str

    def check(self, context: Context) -> None:
        """Refuse what cannot be evaluated before anything is computed; say what is not there."""
        self.metrics.scorer.check()
        if self.demonstrations not in (RIGHT, *FIELDS):
            options = ", ".join((RIGHT, *FIELDS))
            raise ValueError(
                f"phase.evaluate.demonstrations: {self.demonstrations!r} is not one of {options}"
            )
        sets = {count: self.dataset(context, count) for count in self.metrics.counts}
        found = {count: len(examples) for count, examples in sets.items()}
        if not any(found.values()):
            counts = " or ".join(map(str, found))
            raise ValueError(f"data.{self.split}: no example has {counts} concepts")
        if min(found.values()) < self.per_count:
            there = ", ".join(f"{number or 'none'} with {count}" for count, number in found.items())
            log.info("data.%s: examples by number of concepts: %s", self.split, there)
        # A reward may find only now that it lacks something; better than after training.
        first = next(examples[0] for examples in sets.values() if len(examples))
        self.reward_parts([first], [Answer("", True)])

    def dataset(self, context: Context, count: int, **drawn: float) -> Examples:
        """The examples of one number of concepts; of real photos there may be few, or none.

        Args:
            context: the run.
            count: the number of concepts.
            drawn: ``scale``, if the pictures shall have another resolution.
        """
        return evaluated_examples(
            context.dataset,
            split=self.split,
            count=count,
            per_count=self.per_count,
            seed=self.seed,
            demonstrations=self.demonstrations,
            **drawn,
        )

    def scenes(self, context: Context, count: int, **drawn: float) -> list[Example]:
        """Those examples, listed."""
        dataset = self.dataset(context, count, **drawn)
        return [dataset[i] for i in range(len(dataset))]

    def of_policy(self, policy: Any, context: Context) -> dict[str, float]:
        """Score a policy during training: ``{"3/accuracy": ...}``, nothing is kept."""
        predictions = []
        for count in self.metrics.counts:
            examples = self.scenes(context, count)
            answers = self.sample(policy, context, examples)
            predictions += self.predictions("val", examples, answers, context)
        return {
            f"{count}/{name}": value
            for count, cell in self.metrics(predictions).items()
            for name, value in cell.items()
            if isinstance(value, float)  # the intervals are for the tables
        }

    def of_stage(self, stage: Stage, context: Context) -> tuple[list[Prediction], Scores]:
        """Caption and score every number of concepts with a stage's model.

        Captions are kept in the cache under the model's fingerprint, so that runs which share
        a model caption with it once, and an interrupted evaluation goes on where it was.
        """
        predictions, images = [], []
        settings = {p: context.settings[p] for p in ("data", "model", "engine", "sampling")}
        write = self.writer(stage, context)
        for count in self.metrics.counts:
            examples = self.scenes(context, count)
            which = [self.split, count, self.per_count, self.seed]
            if self.demonstrations != RIGHT:
                which.append(self.demonstrations)
            key = store.key_of([stage.fingerprint, settings, which])
            answers = cached_answers(context.cache / "captions" / f"{key}.jsonl", examples, write)
            predictions += self.predictions(stage.phase, examples, answers, context)
            images += [example.query for example in examples]
        scores = self.metrics(predictions)
        if distributed.rank() == 0:  # who writes them down
            for count, cell in self.metrics.captions(predictions, images).items():
                scores[count] |= cell
        for count, cell in scores.items():
            log.info("%s, %s concepts: %s", stage.phase, count, brief(cell))
        return predictions, scores

    def sample(self, policy: Any, context: Context, examples: Sequence[Example]) -> list[Answer]:
        """Caption with a policy."""
        return sample_texts(
            policy,
            context.engine,
            examples,
            batch_size=self.batch_size,
            sampling=self.sampling,
        )

    def writer(self, stage: Stage, context: Context) -> Callable[[Sequence[Example]], list[Answer]]:
        """Something that answers; the model is loaded when the first answer is wanted."""
        if stage.phase in WRITERS_WITHOUT_MODEL:
            return WRITERS_WITHOUT_MODEL[stage.phase]
        policy = None

        def write(examples: Sequence[Example]) -> list[Answer]:
            nonlocal policy
            policy = policy or context.load_policy(path=stage.checkpoint).to(context.device)
            return self.sample(policy, context, examples)

        return write

    def predictions(
        self,
        phase: str,
        examples: Sequence[Example],
        answers: Sequence[Answer],
        context: Context,
    ) -> list[Prediction]:
        """Join captions with what they answer and, if there is a rubric, what it says."""
        parts = self.reward_parts(examples, answers)
        return [
            Prediction(
                id=example.id,
                phase=phase,
                task=example.task,
                num_concepts=example.num_concepts,
                prompt=context.prompt.text(example),
                images=tuple(image.key for image in example.images),
                caption=answer.text,
                answers=example.answers,
                present=example.present,
                pool=example.pool,
                rewards=part,
                finished=answer.finished,
                infos=tuple(r.info for r in example.references if r.info is not None),
            )
            for example, answer, part in zip(examples, answers, parts, strict=True)
        ]

    def reward_parts(
        self, examples: Sequence[Example], answers: Sequence[Answer]
    ) -> list[dict[str, float | None]]:
        """Raw reward components of each caption; None where one does not apply."""
        if self.rubric is None:
            return [{} for _ in examples]
        rollouts = [
            Rollout(
                example,
                answer.text,
                torch.tensor(answer.token_ids, dtype=torch.long),
                torch.empty(0),
                answer.finished,
            )
            for example, answer in zip(examples, answers, strict=True)
        ]
        scored = self.rubric.score(rollouts)
        return [scored.breakdown(i) for i in range(len(rollouts))]


def cached_answers(
    path: Path,
    examples: Sequence[Example],
    write: Callable[[Sequence[Example]], Sequence[Answer]],
) -> list[Answer]:
    """Read captions that were written before, or write them and keep them."""
    rows = distributed.from_main(store.read_lines(path))
    # Captions that were kept without their tokens are written anew.
    kept = [row["id"] for row in rows if "token_ids" in row]
    if kept != [example.id for example in examples]:
        answers = write(examples)
        rows = [{"id": e.id, **a._asdict()} for e, a in zip(examples, answers, strict=True)]
        if distributed.rank() == 0:
            store.write_lines(path, rows)
    return [Answer(row["text"], row["finished"], tuple(row["token_ids"])) for row in rows]


def brief(cell: Mapping[str, Any]) -> str:
    """A line for the log."""
    return "  ".join(f"{k} {v:.1f}" for k, v in cell.items() if isinstance(v, float))


def prediction_rows(predictions: Sequence[Prediction]) -> Iterator[dict[str, Any]]:
    """As they stand in ``predictions.jsonl``."""
    return (asdict(prediction) for prediction in predictions)
