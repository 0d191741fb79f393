"""What every shipped reward pays to who does not look, on scenes of the toybox.

    python -m tests.unit.rewards.stuffing

prints the table of experiments/README.md: the mean total of each policy, conditions applied, as a
percentage of what the honest captioner earns under the same configuration.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from repic.parsing import tokenize_caption
from repic.rewards.rubric import Rubric
from repic.rl.conditions import conditioned_rewards, read_conditions
from repic.toybox.world import COLOURS, SPECIES, VALUES
from repic.types import Example, Rollout
from tests.integration.small import compose_run

CONF = Path(__file__).parents[3] / "conf"
REWARDS = sorted(path.stem for path in (CONF / "reward").glob("*.yaml") if path.stem != "none")
LENGTHS = sorted(path.stem for path in (CONF / "length").glob("*.yaml") if path.stem != "none")
# Every reward as it is, and one of them with every way to mind the length.
CONFIGS = [f"reward={reward}" for reward in REWARDS]
CONFIGS += [f"reward=balcaprl length={length}" for length in LENGTHS]

Policy = Callable[[Example], str]

REMARKS = (
    "The composition adds depth to the scene, and the soft light creates a cosy atmosphere."
    " This picture invites the viewer to linger. It is a charming and harmonious moment."
)


def honest(example: Example) -> str:
    """Everything there is to say, once: the setting, then a sentence for each toy."""
    return example.answers[4]


def copied(example: Example) -> str:
    return " ".join(f"{r.info}, {r.name}." if r.info else f"{r.name}." for r in example.references)


def crowd(example: Example) -> str:
    """Every sort of toy in every colour that the scene does not have."""
    assert example.scene is not None
    there = {(m.attributes["colour"], m.attributes["species"]) for m in example.scene.mentions}
    others = [(c, s) for c in COLOURS for s in SPECIES if (c, s) not in there]
    return " ".join(f"On the left stands a {colour} {species}." for colour, species in others)


def values(example: Example) -> str:
    del example
    return " ".join(value for slot in VALUES.values() for value in slot).capitalize() + "."


def first_species(example: Example) -> str:
    assert example.scene is not None
    return f"A {example.scene.mentions[0].attributes['species']}."


POLICIES: dict[str, Policy] = {
    "say nothing": lambda e: "",
    "name everybody": lambda e: f"Here are {', '.join(e.pool)}.",
    "honest, then name everybody": lambda e: f"{honest(e)} Here are {', '.join(e.pool)}.",
    "name nobody": lambda e: re.sub(r", <\w+>", "", honest(e)),
    "closing tags": lambda e: honest(e).replace("<", "</"),
    "copy the prompt's information": copied,
    "all attributes": values,
    "honest, then all attributes": lambda e: f"{honest(e)} {values(e)}",
    "longest: honest, then a crowd": lambda e: f"{honest(e)} {crowd(e)}",
    "shortest: one species": first_species,
    "the setting alone": lambda e: honest(e).split(".")[0] + ".",
    "one true sentence, ten times": lambda e: " ".join([f"{honest(e).split('. ')[1]}."] * 10),
    "honest, twice": lambda e: f"{honest(e)} {honest(e)}",
    "commentary alone": lambda e: REMARKS,
    "honest, then commentary": lambda e: f"{honest(e)} {REMARKS}",
}

# What needs more than this machine has is run with something in its place.
JUDGE, REFERENCE = "reward=balcaprl_judge", "reward=seed"
STAND_INS = {
    JUDGE: "the grammar and the rules of reward=balcaprl in the judge's place",
    REFERENCE: "a reference to which a pair of words has the probability 0.9 if it occurs in an"
    " answer to any of the scenes, and 0.05 if not",
}

NAMES_ONLY = "an arm of the ablation that judges names alone: how a caption reads is not its matter"
RELEASED = "RePIC's released rewards look for the names that are due, and at nothing else"
PADDING = (
    "honest, then all attributes",
    "longest: honest, then a crowd",
    "honest, then commentary",
)
RECITING = ("name everybody", "honest, then name everybody", "copy the prompt's information")
KNOWN = {
    **{("reward=recognition", policy): NAMES_ONLY for policy in PADDING},
    **{
        (f"reward={reward}", policy): RELEASED
        for reward in ("repic", "repic_exact")
        for policy in (*PADDING, *RECITING, "honest, twice")
    },
}
"""Stuffing that a configuration is known not to punish, and why: its mean is no lower."""


@dataclass(frozen=True)
class Scorer:
    """A configuration's totals, with its conditions applied."""

    rubric: Rubric

    def totals(self, policy: Policy, examples: Sequence[Example]) -> torch.Tensor:
        rollouts = [rollout(example, policy(example)) for example in examples]
        reference = likelihoods(rollouts) if self.rubric.needs_reference else None
        scored = self.rubric.score(rollouts, reference)
        conditions = read_conditions(self.rubric.conditions, scored.names)
        rewards = conditioned_rewards(scored.values[None], scored.names, conditions)[0]
        return (rewards * self.rubric.weights).nansum(dim=1)


def rollout(example: Example, text: str) -> Rollout:
    """A caption as if each word were a token; there is an end token."""
    length = len(tokenize_caption(text)) + 1
    return Rollout(example, text, torch.zeros(length, dtype=torch.long), torch.zeros(length), True)


def likelihoods(rollouts: Sequence[Rollout]) -> list[torch.Tensor]:
    """Log-probabilities of each caption's words, and of its end, under the stand-in."""
    rows = [[0.9 if pair in known_pairs() else 0.05 for pair in pairs(r.text)] for r in rollouts]
    return [torch.tensor(row).log() for row in rows]


@cache
def known_pairs() -> frozenset[tuple[str, str]]:
    return frozenset(pair for e in scenes() for text in e.answers for pair in pairs(text))


def pairs(text: str) -> list[tuple[str, str]]:
    """Neighbouring words, with one word for every name and a mark at either end."""
    words = ["<>" if word[0] == "<" else word for word in tokenize_caption(text)]
    return list(pairwise(["", *words, ""]))


@cache
def scorer(config: str) -> Scorer:
    cfg = compose(config)
    if config == JUDGE:
        weights = cfg.reward.rubric.weights
        cfg = compose(config.replace("balcaprl_judge", "balcaprl"))
        cfg.reward.rubric.weights = weights
    return Scorer(instantiate(cfg.reward.rubric, _convert_="all"))


def compose(config: str) -> DictConfig:
    return compose_run(*config.split(), "data.reward_corpus.dataset.size=300")[0]


@cache
def scenes() -> list[Example]:
    cfg, _ = compose_run()
    sizes = {"counts": [1, 2, 3, 4, 5], "size": 40, "seed": 0}
    return list(instantiate(cfg.data.test, _convert_="all", **sizes))


@cache
def mean(config: str, policy: str) -> float:
    function = honest if policy == "honest" else POLICIES[policy]
    return scorer(config).totals(function, scenes()).mean().item()


def table() -> str:
    """Markdown; what is known not to be punished has a star."""
    short = [config.replace("reward=", "").replace("length=", "+ ") for config in CONFIGS]
    lines = [f"| policy | {' | '.join(short)} |", f"|---|{'--:|' * len(short)}"]
    for policy in POLICIES:
        shares = [100 * mean(c, policy) / mean(c, "honest") for c in CONFIGS]
        stars = ["*" if (config, policy) in KNOWN else "" for config in CONFIGS]
        cells = [f"{share:.0f}{star}" for share, star in zip(shares, stars, strict=True)]
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    notes = [f"* {why}." for why in dict.fromkeys(KNOWN.values())]
    notes += [f"{config}: scored with {what}." for config, what in STAND_INS.items()]
    return "\n".join([*lines, "", *notes])


if __name__ == "__main__":
    print(table())
