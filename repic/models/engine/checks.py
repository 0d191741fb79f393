"""Checks at the start of a run: the engine computes what the plain one does, from the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from repic.models.engine.meter import Meter
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.types import Example, ImageSource, Reference, Rollout

# Largest difference of a log-probability that rounding explains, by the weights' precision.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}
_GROUPS, _MEMBERS = 2, 2  # that many are looked at


@dataclass(frozen=True)
class Blank:
    """A grey picture in the place, and of the size, of another."""

    original: ImageSource

    @property
    def key(self) -> str:
        return f"blank:{self.original.key}"

    def load(self) -> Image.Image:
        return Image.new("RGB", self.original.load().size, (128, 128, 128))


def check_engine(engine: Any, policy: Policy, groups: Sequence[Sequence[Rollout]]) -> None:
    """Stop a run whose numbers would be wrong.

    Args:
        engine: what the run computes with.
        groups: an iteration's rollouts; a few of them are scored again.

    Raises:
        ValueError: if the engine's log-probabilities are not those of ``PlainEngine``, or if they
            stay what they are without the pictures.
    """
    rollouts = [rollout for group in groups[:_GROUPS] for rollout in group[:_MEMBERS]]
    meter, engine.meter = engine.meter, Meter()  # this is no part of the iteration's work
    with policy.evaluating(), torch.no_grad():
        found = engine.logprobs(policy, rollouts).logprobs
        _check_parity(found, PlainEngine().logprobs(policy, rollouts).logprobs, policy)
        if any(rollout.example.images for rollout in rollouts):
            blanks = {id(r.example): without_pictures(r.example) for r in rollouts}
            blind = [replace(r, example=blanks[id(r.example)]) for r in rollouts]
            _check_sight(found, engine.logprobs(policy, blind).logprobs, policy)
    engine.meter = meter


def without_pictures(example: Example) -> Example:
    """Return the example with blanks for its pictures."""
    shown = tuple(
        Reference(r.name, r.info, None if r.image is None else Blank(r.image))
        for r in example.references
    )
    query = None if example.query is None else Blank(example.query)
    return replace(example, id=f"blank:{example.id}", references=shown, query=query)


def _check_parity(found: Tensor, expected: Tensor, policy: Policy) -> None:
    gap, allowed = (found - expected).abs().max().item(), TOLERANCE[policy.network.dtype]
    if not gap <= allowed:  # NaN is no parity
        raise ValueError(
            f"the engine's log-probabilities differ from the plain ones by up to {gap:.2g}"
            f" (allowed: {allowed:g}): choose engine=plain, or another model.attention"
        )


def _check_sight(found: Tensor, blind: Tensor, policy: Policy) -> None:
    # Where pictures have no part in it, the same numbers are computed twice.
    if (found - blind).abs().max().item() < 0.01 * TOLERANCE[policy.network.dtype]:
        raise ValueError(
            "the policy does not see the images: log-probabilities stay the same when all pictures"
            " are blank; look at the prompt (data.prompt) and at the model's projector"
        )
