"""A model that reads references in its prompt, as a directory holds it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from repic import distributed
from repic.captioners.captioner import Caption, Cost, Labels
from repic.models.engine.base import Engine
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.types import Example

MEASURED = 8  # examples on which the tokens of a friend are counted


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
    # A rank with none draws one in vain: an engine's ranks may have to meet before they draw.
    drawn = mine or list(examples[:1])
    captions = []
    for first in range(0, len(drawn), batch_size):
        batch = drawn[first : first + batch_size]
        rollouts = engine.sample(policy, batch, group_size=1, sampling=sampling, seed=0)
        captions += [
            Caption(r.text, r.finished, tuple(r.completion_ids.tolist())) for r in rollouts
        ]
    return distributed.gather(captions[: len(mine)])


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
        model_key: hash of its weights and of all that decides what it computes, how it captions
            aside; by it what was learnt on it is found.
    """

    labels: Labels
    key: str
    decoding: str | None
    load: Callable[[], Policy]
    engine: Engine
    sampling: Sampling
    batch_size: int
    model_key: str = ""
    policy: Policy | None = field(default=None, init=False)
    _asked: Sequence[Example] = field(default=(), init=False)

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        """Caption in batches."""
        self._asked = self._asked or examples[:MEASURED]
        return sample_captions(
            self.loaded(),
            self.engine,
            examples,
            batch_size=self.batch_size,
            sampling=self.sampling,
        )

    answer = write

    def loaded(self) -> Policy:
        """The model, loaded now if it was not before."""
        self.policy = self.policy or self.load()
        return self.policy

    def release(self) -> None:
        """Let go of the model, which takes memory; it is loaded again if more is wanted."""
        self.policy = None

    def cost(self) -> Cost:
        """A reference in the prompt."""
        bare = [replace(example, references=()) for example in self._asked]
        friends = sum(len(example.references) for example in self._asked)
        return Cost(pictures=1, prompt_tokens=self.added_tokens(self._asked, bare, friends))

    def added_tokens(
        self, shown: Sequence[Example], bare: Sequence[Example], friends: int
    ) -> float | None:
        """Tokens that a friend adds to a prompt; None where this run has asked nothing.

        Args:
            shown: examples as they were asked.
            bare: the same without a word of any friend.
            friends: that ``shown`` tells of, over all examples.
        """
        if self.policy is None or not friends:
            return None
        lengths = (
            sum(len(prompt.input_ids) for prompt in self.policy.encoder.prompts(examples))
            for examples in (shown, bare)
        )
        return round((next(lengths) - next(lengths)) / friends, 2)
