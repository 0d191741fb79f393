"""Make the base model from nothing: teach it to see, then practise a mixture of tasks."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from repic import distributed, files
from repic.captioners.model import sample_captions
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.phases.context import Context, TrainedModel
from repic.phases.phase import Curve
from repic.phases.randomness import stream_seed
from repic.phases.sft import SftModule, SupervisedPhase
from repic.phases.vision import Labels, VisionModule
from repic.types import Example, Examples
from repic.values import Amount, Share, Text


@dataclass(frozen=True, kw_only=True)
class Pretraining(SupervisedPhase):
    """What both phases have in common.

    Attributes:
        dataset: called with ``split``, ``size`` and ``seed``; its i-th example may depend on
            i / size, which is how far training has come: a curriculum.
        val_size: examples of each validation.
    """

    dataset: Callable[..., Examples]
    val_size: Amount

    def check(self, context: Context) -> None:
        super().check(context)
        self.dataset(split="train", size=1, seed=0)

    def train_examples(self, context: Context) -> Examples:
        """As many examples as there are to see."""
        size, seed = self.iterations * self.batch_size, stream_seed(context.seed, self.name)
        return self.dataset(split="train", size=size, seed=seed)

    def val_examples(self) -> list[Example]:
        """Examples with toys and names of the validation split."""
        dataset = self.dataset(split="val", size=self.val_size, seed=0)
        return [dataset[i] for i in range(len(dataset))]


@dataclass(frozen=True, kw_only=True)
class VisionPhase(Pretraining):
    """Build a model with random weights and teach its vision tower to see.

    Attributes:
        build: writes the model into ``folder``, from ``seed``.
        labels, slots, unspoken: see ``VisionModule``.
    """

    name = "pretrain_vision"
    label = "vision pre-trained"
    short = "vision"
    needs_model = False
    curves = (Curve("Loss of the vision tower, a square", r"pretrain_vision/(loss)"),)

    build: Callable[..., object]
    labels: Labels
    slots: Mapping[str, Sequence[str]]
    unspoken: Sequence[Text]

    def run(self, context: Context, start: TrainedModel) -> TrainedModel:
        scratch = context.folder / "checkpoints" / "random"
        seed = stream_seed(context.seed, "random weights")
        if distributed.rank() == 0 and files.read_done(scratch) != {"seed": seed}:
            try:
                files.write_folder(scratch, lambda part: self.build(folder=part, seed=seed))
            except ValueError as error:
                raise ValueError(f"phase.{self.name}.build.{error}") from error
            files.mark_done(scratch, {"seed": seed})
        distributed.barrier()
        random_weights = TrainedModel(
            phase="random",
            checkpoint=str(scratch),
            fingerprint=context.fingerprint(str(scratch)),
            started_from=None,
            time_s=0.0,
        )
        made: list[VisionModule] = []

        def module(**arguments: Any) -> VisionModule:
            slots = {"slots": self.slots, "unspoken": self.unspoken}
            made.append(VisionModule(labels=self.labels, **slots, **arguments))
            return made[0]

        return self.fit(
            context,
            random_weights,
            self.train_examples(context),
            module=module,
            validate=lambda _: self.validate(made[0]),
        )

    def validate(self, module: VisionModule) -> dict[str, float]:
        """Share of cells whose words are right, by task and slot, in percent."""
        tasks = defaultdict(list)
        for example in self.val_examples():
            tasks[example.task].append(example)
        scores = {}
        for task, examples in tasks.items():
            shares = module.accuracy(examples)
            scores |= {f"{task}/{slot}": share for slot, share in shares.items()}
        return scores


@dataclass(frozen=True, kw_only=True)
class PracticePhase(Pretraining):
    """Practise describing, comparing and looking names up.

    Attributes:
        grade: gives the parts of an answer to an example that are right, as shares by part.
        sampling: how validation answers; greedily, as a rule.
        length_exponent: how much an answer counts by its length; see ``SftModule``.
        position_jumps: the largest share of an answer's tokens before which positions jump. Where
            toys are always told in equally many words, a model counts on that to know who is
            next, and leaves somebody out as soon as names stand between.
    """

    name = "pretrain"
    label = "pre-trained"
    short = "pre-training"
    curves = (Curve("Pre-training loss", r"pretrain/(loss)"),)

    grade: Callable[[Example, str], Mapping[str, float]]
    sampling: Sampling
    length_exponent: Share
    position_jumps: Share

    def run(self, context: Context, start: TrainedModel) -> TrainedModel:
        return self.fit(
            context,
            start,
            self.train_examples(context),
            validate=partial(self.validate, context=context),
            module=partial(
                SftModule,
                length_exponent=self.length_exponent,
                position_jumps=self.position_jumps,
            ),
        )

    def validate(self, policy: Policy, context: Context) -> dict[str, float]:
        """Grades by task and part, in percent."""
        examples = self.val_examples()
        texts = sample_captions(
            policy,
            context.engine,
            examples,
            batch_size=self.micro_batch,
            sampling=self.sampling,
        )
        grades = defaultdict(list)
        for example, answer in zip(examples, texts, strict=True):
            for part, share in self.grade(example, answer.text).items():
                grades[f"{example.task}/{part}"].append(share)
        return {key: 100 * sum(shares) / len(shares) for key, shares in grades.items()}
