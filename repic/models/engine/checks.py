"""Checks at the start of a run: the engine computes what the library does, from the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from repic.models.engine.library import score_rows
from repic.models.engine.meter import Meter
from repic.models.engine.plain import PlainEngine
from repic.models.policy import Policy
from repic.types import Clip, Example, Frame, ImageSource, Reference, Rollout, picture_content

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

    @property
    def content(self) -> str:
        return f"blank:{picture_content(self.original)}"

    def load(self) -> Image.Image:
        return Image.new("RGB", self.original.load().size, (128, 128, 128))


def check_engine(engine: Any, policy: Policy, groups: Sequence[Sequence[Rollout]]) -> None:
    """Stop a run whose numbers would be wrong.

    Args:
        engine: what the run computes with.
        groups: an iteration's rollouts; a few of them are scored again.

    Raises:
        ValueError: if the engine's log-probabilities are not those of the library's own forward
            pass, or if they stay what they are without the pictures.
    """
    rollouts = [rollout for group in groups[:_GROUPS] for rollout in group[:_MEMBERS]]
    meter, engine.meter = engine.meter, Meter()  # this is no part of the iteration's work
    with policy.evaluating(), torch.no_grad():
        found = engine.logprobs(policy, rollouts).logprobs
        if policy.family.unpackable is None:
            _check_parity(found, policy, rollouts)
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
    query = None if example.query is None else _blank(example.query)
    return replace(example, id=f"blank:{example.id}", references=shown, query=query)


def _blank(query: ImageSource) -> ImageSource:
    if not isinstance(query, Clip):
        return Blank(query)
    frames = tuple(Frame(frame.second, Blank(frame.image)) for frame in query.frames)
    return Clip(f"blank:{query.name}", frames)


def _check_parity(found: Tensor, policy: Policy, rollouts: Sequence[Rollout]) -> None:
    """Compare with the library's own forward pass, which knows nothing of our families."""
    # The library takes an image token in an answer for a picture's place.
    places = policy.encoder.image_ids
    kept = [i for i, r in enumerate(rollouts) if places.isdisjoint(r.completion_ids.tolist())]
    if not kept:
        return
    some = [rollouts[i] for i in kept]
    ids = [rollout.completion_ids for rollout in some]
    expected = score_rows(policy, [r.example for r in some], ids, entropy=False).logprobs
    gap, allowed = _gap(found[kept], expected), TOLERANCE[policy.network.dtype]
    if gap <= allowed:  # NaN is no parity
        return
    plain_gap = _gap(PlainEngine().logprobs(policy, some).logprobs, expected)
    mend = "choose engine=plain, or another model.attention"
    if not plain_gap <= allowed:
        family = policy.network.config.model_type
        mend = (
            f"so do those of engine=plain; the entry of {family} in repic/models/families.py does"
            " not say what this version of the library computes"
        )
    raise ValueError(
        "the engine's log-probabilities differ from those of the library's own forward pass by up"
        f" to {gap:.2g} (allowed: {allowed:g}): {mend}"
    )


def _gap(found: Tensor, expected: Tensor) -> float:
    length = max(found.shape[1], expected.shape[1])
    found, expected = (pad(x, (0, length - x.shape[1])) for x in (found, expected))
    return (found - expected).abs().max().item()


def _check_sight(found: Tensor, blind: Tensor, policy: Policy) -> None:
    # Where pictures have no part in it, the same numbers are computed twice.
    if (found - blind).abs().max().item() < 0.01 * TOLERANCE[policy.network.dtype]:
        raise ValueError(
            "the policy does not see the images: log-probabilities stay the same when all pictures"
            " are blank; look at the prompt (data.prompt) and at the model's projector"
        )
