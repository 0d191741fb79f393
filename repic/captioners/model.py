"""A model that reads references in its prompt, as a directory holds it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from repic import distributed
from repic.captioners.captioner import Caption, Cost, Labels
from repic.models.engine.base import Engine
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.types import Example


def sample_captions(
    policy: Policy,
    engine: Engine,
    examples: Sequence[Example],
    *,
    batch_size: int,
    sampling: Sampling,
) -> list[Caption]:
    """Caption in batches, one caption an example; ranks share the examples out."""
    mine = list(examples[distributed.own()])
    captions = []
    for first in range(0, len(mine), batch_size):
        batch = mine[first : first + batch_size]
        rollouts = engine.sample(policy, batch, group_size=1, sampling=sampling, seed=0)
        captions += [
            Caption(r.text, r.finished, tuple(r.completion_ids.tolist())) for r in rollouts
        ]
    return distributed.gather(captions)


@dataclass
class ModelCaptioner:
    """Captions with a model that is loaded when the first caption is wanted.

    Attributes:
        labels: what the model is called.
        key: hash of its weights and of all settings that decide a caption.
        decoding: how it draws captions, in words.
        load: loads it, onto its device.
        engine, sampling: how it captions.
        batch_size: examples at a time, on each rank.
    """

    labels: Labels
    key: str
    decoding: str | None
    load: Callable[[], Policy]
    engine: Engine
    sampling: Sampling
    batch_size: int
    policy: Policy | None = field(default=None, init=False)

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        """Caption in batches."""
        self.policy = self.policy or self.load()
        return sample_captions(
            self.policy,
            self.engine,
            examples,
            batch_size=self.batch_size,
            sampling=self.sampling,
        )

    def cost(self) -> Cost:
        """A reference in the prompt."""
        return Cost(pictures=1)
