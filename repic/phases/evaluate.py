"""Write captions with a model, or without one, and score them for each number of concepts."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import torch
from annotated_types import Predicate

from repic import distributed, files
from repic.captioners.captioner import Caption, Captioner
from repic.captioners.model import sample_captions
from repic.data.clips import CONTROLS, controlled
from repic.data.contents import example_content
from repic.data.inventory import tell_other_counts
from repic.data.wrong_references import DEMONSTRATIONS, RIGHT, WrongReferences
from repic.metrics.kept import CaptionScores
from repic.metrics.suite import Cell, MetricSuite
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.phases.context import Context
from repic.rewards.rubric import Rubric
from repic.types import Example, Examples, Prediction, Rollout
from repic.values import Amount, Seed
from repic.words import counted

if TYPE_CHECKING:  # FAISS tells what it tries while it is imported
    from repic.retrieval.retriever import Retriever

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """What one model's evaluation gave.

    Attributes:
        predictions: its captions.
        cells: number of concepts → metric → value; on rank 0.
        measured: what was measured of each caption; on rank 0.
    """

    predictions: list[Prediction]
    cells: Mapping[str, Cell]
    measured: CaptionScores | None


TOLD = ("accuracy", "precision", "recall", "f1", "cider")  # in the log


class Asked(Protocol):
    """Which scenes are captioned, as an ``Evaluation`` or a saved run says it."""

    @property
    def split(self) -> str: ...

    @property
    def per_count(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def demonstrations(self) -> str: ...


def evaluated_examples(
    dataset: Callable[..., Examples], asked: Asked, count: int, **changes: Any
) -> Examples:
    """What an evaluation captions of one number of concepts.

    Args:
        dataset: gives the examples of a split.
        asked: which scenes.
        count: the number of concepts; of real photos with so many there may be few, or none.
        changes: keys of the data that shall have other values, such as a ``scale``.
    """
    changes |= {"split": asked.split, "size": asked.per_count, "seed": asked.seed}
    examples = dataset(counts=[count], **changes)
    if asked.demonstrations == RIGHT:
        return examples
    return WrongReferences(examples, kind=asked.demonstrations, seed=asked.seed)


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
        retrieval: introduces whom it finds, a ``repic.retrieval.retriever.Retriever``; None: whom
            the data says, which RePIC calls skip-retrieval.
        controls: of clips, what each model captions once more without all frames in their order;
            see ``repic.data.clips``.
    """

    split: Literal["val", "test"]
    per_count: Amount
    seed: Seed
    batch_size: Amount
    sampling: Sampling
    metrics: MetricSuite
    rubric: Rubric | None
    demonstrations: Annotated[str, Predicate(DEMONSTRATIONS.__contains__)]
    retrieval: "Retriever | None"
    controls: Sequence[Annotated[str, Predicate(CONTROLS.__contains__)]] = ()

    def check(self, context: Context) -> None:
        """Refuse what cannot be evaluated before anything is computed; say what is not there."""
        self.metrics.scorer.check()
        if self.retrieval is not None and self.demonstrations != RIGHT:
            raise ValueError(
                f"phase.evaluate.demonstrations: {self.demonstrations} needs the data's own"
                " references; set retrieval=skip"
            )
        sets = self.sets(context)
        found = {count: len(examples) for count, examples in sets.items()}
        tell_other_counts(next(iter(sets.values())), "metrics.counts", sets)
        if min(found.values()) < self.per_count:
            there = ", ".join(f"{number or 'none'} with {count}" for count, number in found.items())
            log.info("data.%s: examples by number of concepts: %s", self.split, there)
        # A reward may find only now that it lacks something; better than after training.
        first = next(examples[0] for examples in sets.values() if len(examples))
        for control in self.controls:
            controlled(first, control)
        self.reward_parts([first], [Caption("", True)])

    def sets(self, context: Context) -> dict[int, Examples]:
        """The examples by number of concepts, of which there are some.

        Raises:
            ValueError: there are none, or no such split.
        """
        sets = {c: evaluated_examples(context.dataset, self, c) for c in self.metrics.counts}
        if not any(map(len, sets.values())):
            counts = " or ".join(map(str, sets))
            raise ValueError(f"data.{self.split}: no example has {counts} concepts")
        return sets

    def scenes(self, context: Context, count: int, **drawn: float) -> list[Example]:
        """The examples of one number of concepts as the prompts show them.

        Args:
            context: the run.
            count: the number of concepts.
            drawn: ``scale``, if the pictures shall have another resolution.
        """
        dataset = evaluated_examples(context.dataset, self, count, **drawn)
        if self.retrieval is None or not len(dataset):
            return [dataset[i] for i in range(len(dataset))]
        chosen = None
        if distributed.rank() == 0:  # by the pictures that a model sees, whatever is drawn here
            seen = evaluated_examples(context.dataset, self, count)
            chosen = self.retrieval.choose(seen, folder=context.cache / "retrieval")
        chosen = distributed.from_main(chosen)
        assert chosen is not None
        return self.retrieval.introduce(dataset, chosen)

    def validate(self, policy: Policy, context: Context) -> dict[str, float]:
        """Score a policy during training: ``{"3/accuracy": ...}``, nothing is kept."""
        predictions = []
        for count in self.metrics.counts:
            examples = self.scenes(context, count)
            captions = sample_captions(
                policy,
                context.engine,
                examples,
                batch_size=self.batch_size,
                sampling=self.sampling,
            )
            predictions += self.predictions("val", examples, captions, context)
        return {
            f"{count}/{name}": value
            for count, cell in self.metrics(predictions).items()
            for name, value in cell.items()
            if isinstance(value, float)  # the intervals are for the tables
        }

    def content(self, context: Context) -> str:
        """Hash the scenes and what is right of them, by what files hold; see ``repic.data``."""
        sets = [evaluated_examples(context.dataset, self, c) for c in self.metrics.counts]
        read = [s for s in sets if not getattr(s, "follows_from_settings", False)]
        return files.key_of(
            [
                example_content(example, context.prompt.messages)
                for examples in read
                for example in (examples[i] for i in range(len(examples)))
            ]
        )

    def evaluate(
        self,
        name: str,
        captioner: Captioner,
        context: Context,
        known: str = "",
        *,
        control: str | None = None,
    ) -> Evaluated:
        """Let somebody caption every number of concepts, and score the captions.

        Args:
            name: what the captions are filed under.
            captioner: who writes them.
            context: the run.
            known: hash of what the captioner knows of friends, if it was told of any.
            control: what is captioned in place of whole clips; see ``controls``.
        """
        predictions, images = [], []
        if captioner.decoding is not None:
            log.info("%s captions: %s", name, captioner.decoding)
        for count in self.metrics.counts:
            examples = self.scenes(context, count)
            if control is not None:
                examples = [controlled(example, control) for example in examples]
            captions = context.kept_captions(
                examples,
                captioner.write,
                captioner.key,
                *filter(None, [known]),
                batch_size=self.batch_size,
                label=f"captions of {name}, {counted(count, 'concept')}",
            )
            predictions += self.predictions(name, examples, captions, context)
            images += [example.query for example in examples]
        if distributed.rank() > 0:  # rank 0 writes down what came out
            return Evaluated(predictions, {}, None)
        measured = self.metrics.measure(predictions, images)
        cells = self.metrics.cells(measured)
        for count, cell in cells.items():
            what = counted(int(count), "concept") if count.isdecimal() else "all concepts"
            log.info("%s, %s: %s", name, what, brief(cell))
        return Evaluated(predictions, cells, measured)

    def settings(self) -> dict[str, Any]:
        """What says which scenes there are and how they are judged, by configuration key."""
        return {
            "phase.evaluate.split": self.split,
            "phase.evaluate.per_count": self.per_count,
            "phase.evaluate.seed": self.seed,
            "phase.evaluate.demonstrations": self.demonstrations,
            "metrics.counts": list(self.metrics.counts),
            "metrics.tokenizer": self.metrics.scorer.tokenizer,
        }

    def predictions(
        self,
        name: str,
        examples: Sequence[Example],
        captions: Sequence[Caption],
        context: Context,
    ) -> list[Prediction]:
        """Join captions with what they answer and, if there is a rubric, what it says."""
        parts = self.reward_parts(examples, captions)
        return [
            Prediction(
                id=example.id,
                phase=name,
                task=example.task,
                num_concepts=example.num_concepts,
                prompt=context.prompt.text(example),
                images=tuple(image.key for image in example.images),
                caption=caption.text,
                answers=example.answers,
                present=example.present,
                # Somebody whom no reference introduces can be missed.
                pool=tuple(dict.fromkeys((*example.pool, *example.present))),
                rewards=part,
                finished=caption.finished,
                infos=tuple(r.info for r in example.references if r.info is not None),
            )
            for example, caption, part in zip(examples, captions, parts, strict=True)
        ]

    def reward_parts(
        self, examples: Sequence[Example], captions: Sequence[Caption]
    ) -> list[dict[str, float | None]]:
        """Raw reward components of each caption; None where one does not apply."""
        if self.rubric is None:
            return [{} for _ in examples]
        rollouts = [
            Rollout(
                example,
                caption.text,
                torch.tensor(caption.token_ids, dtype=torch.long),
                torch.empty(0),
                caption.finished,
            )
            for example, caption in zip(examples, captions, strict=True)
        ]
        scored = self.rubric.score(rollouts)
        return [scored.breakdown(i) for i in range(len(rollouts))]


def brief(cell: Cell) -> str:
    """A line for the log; the tables have the rest."""
    numbers = {name: cell[name] for name in TOLD if isinstance(cell.get(name), float)}
    return "  ".join(f"{name} {value:.1f}" for name, value in numbers.items())
