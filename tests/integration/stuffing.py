"""What every shipped reward pays to who does not look, on scenes of the toybox.

    python -m tests.integration.stuffing

prints the table of experiments/stuffing.md: the mean total of each policy, conditions applied, as a
percentage of what the honest captioner earns under the same configuration.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from repic.parsing import tokenize_caption
from repic.rewards.assignment import count_facts
from repic.rewards.cider import CiderD
from repic.rewards.rubric import Rubric
from repic.rl.conditions import conditioned_rewards, read_conditions
from repic.toybox.grammar import parse_caption
from repic.toybox.scene import ToyboxImage, position_word
from repic.toybox.world import COLOURS, SLOTS, SPECIES, VALUES
from repic.types import Example, Mention, Rollout, Scene
from tests.integration.small import compose_run

CONF = Path(__file__).parents[2] / "repic/conf"
REWARDS = sorted(path.stem for path in (CONF / "reward").glob("*.yaml") if path.stem != "none")
REWARDS.remove("clips")  # of scenes it says what combined says
LENGTHS = ["linear", "mask", "minimum", "overlong"]
# Every reward as it is, and one of them with every way to mind the length.
CONFIGS = [f"reward={reward}" for reward in REWARDS]
CONFIGS += [f"reward=balcaprl length={length}" for length in LENGTHS]
CONFIGS += ["reward=repic length=minimum_toys"]

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
STAND_INS = {
    "reward=balcaprl_judge": "the grammar and the rules of reward=balcaprl for the judge",
    "reward=seed": "pairs of words, counted in captions of other scenes, for the reference model",
    "reward=listener": "a reader by grammar, right facts less wrong ones, for the reference model",
}

ADDITIONS = (
    "honest, then all attributes",
    "longest: honest, then a crowd",
    "honest, then commentary",
)
NAMES_ONLY = "an arm of the ablation that judges names alone: how a caption reads is not its matter"
PROSE_ONLY = "an arm of the ablation that judges what is said: who is named is not its matter"
KNOWN = {
    ("reward=quality", "name nobody"): PROSE_ONLY,
    ("reward=quality", "closing tags"): PROSE_ONLY,
    ("reward=recognition", "honest, then all attributes"): NAMES_ONLY,
    ("reward=recognition", "longest: honest, then a crowd"): NAMES_ONLY,
    ("reward=recognition", "honest, then commentary"): NAMES_ONLY,
    **{
        ("reward=covip", policy): "it asks what is said of friends, and nothing else"
        for policy in ("honest, then name everybody", *ADDITIONS)
        if "longest" not in policy  # a crowd repeats itself
    },
    **{
        ("reward=listener", policy): "it asks whether friends can be told from look-alikes, alone"
        for policy in ("honest, then name everybody", "honest, twice", *ADDITIONS)
    },
    **{
        (config, policy): "it asks whether the names are there, and nothing else"
        for config in CONFIGS
        if config.startswith("reward=repic")
        for policy in (
            *("honest, then name everybody", "honest, twice", *ADDITIONS),
            *(() if "length" in config else ("name everybody", "copy the prompt's information")),
        )
    },
}
"""Stuffing that a configuration is known not to punish, and why: its mean is no lower."""


@dataclass(frozen=True)
class Scorer:
    """A configuration's totals, with its conditions applied."""

    rubric: Rubric

    def totals(self, policy: Policy, examples: Sequence[Example]) -> torch.Tensor:
        rollouts = [rollout(example, policy(example)) for example in examples]
        logprobs = listen = None
        if "listener" in self.rubric.names:
            logprobs, listen = heard(rollouts), heard
        elif self.rubric.needs_reference:
            logprobs = [word_logprobs(r.text) for r in rollouts]
        scored = self.rubric.score(rollouts, logprobs, listen)
        conditions = read_conditions(self.rubric.conditions, scored.names)
        rewards = conditioned_rewards(scored.values[None], scored.names, conditions)[0]
        return (rewards * self.rubric.weights).nansum(dim=1)


def rollout(example: Example, text: str) -> Rollout:
    """A caption as if each word were a token; there is an end token."""
    length = len(tokenize_caption(text)) + 1
    return Rollout(example, text, torch.zeros(length, dtype=torch.long), torch.zeros(length), True)


@cache
def word_pairs() -> Counter[tuple[str, ...]]:
    cfg = compose("reward=combined")
    return CiderD.from_corpus(instantiate(cfg.data.reward_corpus)).document_frequencies


def word_logprobs(text: str) -> torch.Tensor:
    """Log-probabilities of a text's words and its end, each given the word before it."""
    words = ["", *tokenize_caption(text)]
    counts = word_pairs()
    chances = [(counts[pair] + 0.1) / (counts[pair[:1]] + 10) for pair in pairwise(words)]
    return torch.tensor([*chances, 0.5]).log()


def heard(rollouts: Sequence[Rollout]) -> list[torch.Tensor]:
    """How well captions fit the pictures before which they stand; who is who is known."""
    fits = []
    for one in rollouts:
        picture, truth = one.example.query, one.example.scene
        assert isinstance(picture, ToyboxImage)
        assert truth is not None
        called = {tuple(m.attributes[s] for s in SLOTS): m.name for m in truth.mentions}
        beings = []
        for toy, pose in picture.beings:
            looks = {**toy.attributes, "position": position_word(pose.centre[0])}
            if name := called.get(tuple(toy.attributes.values())):
                looks["name"] = name
            beings.append(Mention(looks))
        said = [
            Mention({**m.attributes, **({"name": m.name} if m.name else {})})
            for m in parse_caption(one.text).mentions
        ]
        facts = count_facts(Scene(tuple(said)), Scene(tuple(beings)))
        fits.append(torch.tensor([2.0 * facts.right - facts.stated]))
    return fits


@cache
def scorer(config: str) -> Scorer:
    cfg = compose(config)
    if config in STAND_INS:
        weights = cfg.reward.rubric.weights
        cfg = compose(config.replace("balcaprl_judge", "balcaprl"))
        cfg.reward.rubric.weights = weights
    return Scorer(instantiate(cfg.reward.rubric, _convert_="all"))


def compose(config: str) -> DictConfig:
    return compose_run(*config.split(), "data.reward_corpus.dataset.size=100")[0]


@cache
def scenes(number: int) -> list[Example]:
    cfg, _ = compose_run()
    sizes = {"counts": [1, 2, 3, 4, 5], "size": number, "seed": 0}
    return list(instantiate(cfg.data.test, _convert_="all", **sizes))


@cache
def mean(config: str, policy: str, number: int) -> float:
    """A policy's mean total over so many scenes."""
    function = honest if policy == "honest" else POLICIES[policy]
    return scorer(config).totals(function, scenes(number)).mean().item()


def table(number: int) -> str:
    """Markdown; what is known not to be punished has a star.

    Args:
        number: of scenes.
    """
    short = [config.replace("reward=", "") for config in CONFIGS]
    short = [config.replace("length=", "+ ") for config in short]
    lines = [f"| policy | {' | '.join(short)} |", f"|---|{'--:|' * len(short)}"]
    for policy in POLICIES:
        shares = [100 * mean(c, policy, number) / mean(c, "honest", number) for c in CONFIGS]
        stars = ["*" if (config, policy) in KNOWN else "" for config in CONFIGS]
        cells = [f"{share:.0f}{star}" for share, star in zip(shares, stars, strict=True)]
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    notes = [f"* {why[0].upper()}{why[1:]}." for why in dict.fromkeys(KNOWN.values())]
    notes += [f"{config}: scored with {what}." for config, what in STAND_INS.items()]
    return "\n".join([*lines, "", *notes])


if __name__ == "__main__":
    print(table(40))
