"""Which being of a picture each mention of a caption is about."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from repic.types import Mention, Scene


@dataclass(frozen=True)
class FactCounts:
    """Facts of a caption: how many are right, how many it states, how many are true."""

    right: int
    stated: int
    true: int


def num_agreeing(said: Mention, being: Mention) -> int:
    """Count the stated attributes that are true of a being."""
    return len(said.attributes.items() & being.attributes.items())


def count_facts(said: Scene, truth: Scene) -> FactCounts:
    """Compare what a caption states with what is there.

    A mention is about at most one being and a being has at most one mention, chosen so that
    agreements minus disagreements are the most in all; of choices that are equal in that, one
    with the fewest disagreements. A mention that agrees with its being in no more facts than it
    disagrees is about no one. So a being that is described a second time, and one that is not
    there, count as stated, and not as right.

    A fact is an attribute of a being, and the background.
    """
    shape = (len(said.mentions), len(truth.mentions))
    agreeing = np.array([[num_agreeing(m, b) for b in truth.mentions] for m in said.mentions])
    agreeing = agreeing.reshape(shape)
    stated = np.array([len(mention.attributes) for mention in said.mentions], dtype=int)
    gains = np.maximum(2 * agreeing - stated[:, None], 0)
    # All disagreements together weigh less than one unit of gain; who gains nothing is no one.
    worth = np.where(gains > 0, gains * (1 + stated.sum()) - (stated[:, None] - agreeing), 0)
    pairs = linear_sum_assignment(worth, maximize=True)
    right = int(agreeing[pairs][gains[pairs] > 0].sum())
    is_setting_right = said.background is not None and said.background == truth.background
    return FactCounts(
        right=right + is_setting_right,
        stated=_num_facts(said),
        true=_num_facts(truth),
    )


def _num_facts(scene: Scene) -> int:
    return sum(len(m.attributes) for m in scene.mentions) + (scene.background is not None)
