"""Whole runs that take seconds: a random model of two layers, a few steps of everything."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict

from repic import run
from repic.types import Example


class Letters:
    """A reward that a random model's captions differ in: the share of vowels."""

    components = ("letters",)

    def __call__(self, caption: str, example: Example) -> Mapping[str, float]:
        return {"letters": sum(c in "aeiou" for c in caption) / max(len(caption), 1)}


def letters(completions: Sequence[str], examples: Sequence[Example]) -> list[float]:
    """The same, as ``reward.own`` takes it."""
    reward = Letters()
    return [reward(*pair)["letters"] for pair in zip(completions, examples, strict=True)]


LETTERS = {
    "rubric": {
        "_target_": "repic.rewards.rubric.Rubric",
        "rewards": {"letters": {"_target_": "tests.integration.small.Letters"}},
        "weights": {"letters": 1.0},
    }
}

# Counting words in two thousand scenes' captions takes longer than all that a small run does.
FEW = "data.reward_corpus.dataset.size=20"


def compose_run(*overrides: str) -> tuple[DictConfig, dict[str, Any]]:
    """Compose as the command line does; return the configuration and the groups' choices."""

    with initialize_config_module("repic.conf", version_base="1.3"):
        cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
    chosen = cfg.hydra.runtime.choices.items()
    choices = {key: value for key, value in chosen if not key.startswith("hydra")}
    with open_dict(cfg):
        del cfg["hydra"]
    run.apply_debug(cfg, list(overrides))
    return cfg, choices


def start(
    model: Path,
    outputs: Path,
    *overrides: str,
    name: str = "run",
    letters: bool = True,
    folder: Path | None = None,
) -> Path:
    """Do a run of the smallest size, in this process, and return its folder."""
    given = [f"model.path={model}", f"outputs={outputs}", f"name={name}", *overrides]
    cfg, choices = compose_run("debug=fast", "metrics.counts=[1,2]", *given)
    with open_dict(cfg):
        if letters and choices["reward"] != "none":
            cfg.reward = OmegaConf.create(LETTERS)
    folder = folder or outputs / name / f"seed_{cfg.seed}"
    return run.run(cfg, folder, choices=choices, overrides=given)


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """What was logged, without times and memory."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    of_the_machine = ("time/", "memory/")
    return [{k: v for k, v in row.items() if not k.startswith(of_the_machine)} for row in rows]
