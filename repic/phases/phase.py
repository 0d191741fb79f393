"""What a phase declares of itself, so that whoever runs or shows it needs to know no name."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from repic import distributed
from repic.captioners.captioner import Labels
from repic.data.inventory import HasInventory, tell_other_counts, tell_shared_photos
from repic.models.engine.base import Engine
from repic.phases.context import Context, TrainedModel
from repic.tables.runs import Curve
from repic.values import ConceptCounts, Count, Whole

# Of every phase that validates.
VALIDATION_CURVES = (
    Curve("Recognition accuracy (%) on validation", r"val/(\d)/accuracy"),
    Curve("CIDEr on validation", r"val/(\d)/cider"),
)


class Phase(ABC):
    """A step of a method from one model to the next: a file, and conf/phase/<name>.yaml.

    A key of that file with the value ``???`` is the run's own part of this name: ``rubric``. A
    phase that asks for the rubric has nothing to learn from a reward without weights, and is left
    out then.

    Attributes:
        name: the file's, and what its numbers, checkpoint and captions are filed under.
        label: what tables call captions of its model.
        short: the same beside other words, in a chart's title.
        is_shared: several runs may have the same result of it, which tables show once.
        needs_model: it begins with a model, the run's base or the phase before's.
        curves: what the page draws of its numbers.
        strategies: the ways in which processes may share it; another is refused. With "fsdp"
            weights are slices, and a phase that does not know keeps rank 0's for the whole.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    short: ClassVar[str]
    is_shared: ClassVar[bool] = False
    needs_model: ClassVar[bool] = True
    curves: ClassVar[tuple[Curve, ...]] = ()
    strategies: ClassVar[tuple[str, ...]] = ("auto", "ddp")

    @abstractmethod
    def check(self, context: Context) -> None:
        """Refuse impossible settings before anything is computed."""

    @abstractmethod
    def run(self, context: Context, start: TrainedModel) -> TrainedModel:
        """Train from ``start``; what is finished already is not done again."""

    def check_strategy(self, strategy: str, engine: Engine) -> None:
        """Refuse a way to share the work that the phase, or the run's engine, does not know."""
        if strategy == "fsdp" and not engine.takes_slices:
            raise ValueError(
                "engine: this one does not draw from weights that ranks share out"
                " (trainer.options.strategy=fsdp); use engine=packed, or trainer=ddp"
            )
        if strategy not in self.strategies:
            raise ValueError(
                f"trainer.options.strategy: {strategy} is none that phase {self.name} knows, which"
                f" knows {', '.join(self.strategies)}"
            )

    @property
    def caption_labels(self) -> Labels:
        """What a captioner is called that captions with the phase's model."""
        return Labels(self.label, self.short, self.is_shared, has_model=True)

    def describe(self) -> dict[str, Any]:
        """What ``summary.json`` says of it beside the model that it made."""
        curves = [asdict(curve) for curve in self.curves]
        return {"label": self.label, "short": self.short, "curves": curves}


@dataclass(frozen=True, kw_only=True)
class TrainingPhase(Phase):
    """A phase of iterations; see ``repic.phases.train``.

    Attributes:
        iterations: optimizer steps, or turns of the outer loop.
        checkpoint_every: iterations between checkpoints.
        val_every: iterations between validations; 0 has none.
    """

    iterations: Count
    checkpoint_every: Count
    val_every: Whole

    def check_examples(
        self, context: Context, counts: ConceptCounts | Sequence[int], **changes: object
    ) -> None:
        """Refuse data in which there is nothing to train on, or to validate with."""
        examples = context.dataset(split="train", counts=counts, size=1, seed=0, **changes)
        tell_other_counts(examples, f"phase.{self.name}.counts", counts)
        if isinstance(examples, HasInventory):
            with contextlib.suppress(Exception):  # the evaluation says what is wrong with them
                asked = context.dataset(split="test", counts=[1, 2, 3, 4, 5], size=1, seed=0)
                tell_shared_photos(examples, asked)
        if not len(examples):
            wanted = " or ".join(map(str, sorted(set(counts))))
            raise ValueError(f"data.train: no example has {wanted} concepts")
        if self.val_every:
            try:
                context.check_validation()
            except ValueError as error:
                raise ValueError(
                    f"phase.{self.name}.val_every={self.val_every}: {error}; 0 does without"
                ) from None

    def check_shares(self, key: str, batch_size: int, micro_batch: int) -> None:
        """Refuse batches that the processes cannot share out, in portions of equal size."""
        ranks = distributed.world_size()
        if batch_size % (micro_batch * ranks):
            raise ValueError(
                f"phase.{self.name}.{key}: {batch_size} is not a multiple of micro_batch"
                f" {micro_batch} × {ranks} processes"
            )
