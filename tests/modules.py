"""Small training runs: the modules under a real trainer, with a stand-in for the monitor."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from repic.data.module import ExampleModule, IterationBatches
from repic.models.engine.base import Engine
from repic.models.engine.plain import PlainEngine
from repic.phases.grpo import GrpoModule, GrpoSettings
from repic.phases.guards import GUARD_SPECS, Guards
from repic.phases.resampling import ReplacementPrompts
from repic.rewards.rubric import Rubric
from repic.rl.advantages import group_advantages
from repic.rl.kl_control import KlControl
from repic.rl.losses import grpo_loss
from repic.types import Example
from tests import tiny
from tests.fakes import Noise, example
from tests.tiny import load

TARGETS = ("a red bear, <bo>", "yes", "in the middle and on the right, a green cat", "no")
FIXED_KL = KlControl(in_reward=False, target=None, gain=0.1, refresh_every=0)
NO_LIMIT = {"limit": None, "patience": 1, "action": "stop"}
NO_GUARDS = Guards(**dict.fromkeys(GUARD_SPECS, NO_LIMIT), cool_lr=0.5, cool_kl=2.0)
SGD = partial(torch.optim.SGD, lr=0.5)


def constant(iteration: int, total: int) -> float:
    return 1.0


def guard(limit: float, patience: int = 1, action: str = "stop") -> dict[str, Any]:
    return {"limit": limit, "patience": patience, "action": action}


def guards(**changes: Any) -> Guards:
    return replace(NO_GUARDS, **changes)


class Recorder:
    """Stands for the monitor."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.saved = 0

    def log(self, metrics: Mapping[str, float], iteration: int) -> None:
        self.rows.append(dict(metrics))

    def iteration_end(
        self, module: Any, metrics: Mapping[str, float], optimizer: torch.optim.Optimizer
    ) -> None:
        self.rows.append(dict(metrics))


class Vowels:
    components = ("vowels",)

    def __call__(self, caption: str, example: Example) -> Mapping[str, float]:
        return {"vowels": sum(c in "aeiou" for c in caption) / max(len(caption), 1)}


def examples() -> list[Example]:
    return [
        replace(example(f"e{i}", [Noise(i)], Noise(10 + i)), target=target)
        for i, target in enumerate(TARGETS)
    ]


def fit(
    module: pl.LightningModule,
    *,
    micro_batch: int,
    iterations: int,
    accumulate: int,
    data: Sequence[Example] | None = None,
    rank: tuple[int, int] = (0, 1),
    **trainer: Any,
) -> None:
    data = list(data or examples())
    batches = IterationBatches(
        len(data),
        seed=0,
        batch_size=4,
        micro_batch=micro_batch,
        iterations=(0, iterations),
        rank=rank,
    )
    pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accumulate_grad_batches=accumulate,
        **trainer,
    ).fit(module, ExampleModule(data, batches=batches, num_workers=0))


def grpo(
    folder: Path,
    *,
    engine: Engine | None = None,
    replacements: ReplacementPrompts | None = None,
    monitor: Recorder | None = None,
    **changes: Any,
) -> GrpoModule:
    """Reinforce vowels on a random model, two iterations of 4 prompts × 3 captions of 8 tokens."""
    given: dict[str, Any] = {
        "rubric": Rubric({"vowels": Vowels()}, {"vowels": 1.0}),
        "advantages": partial(group_advantages, normalize_std=True, eps=1e-4),
        "objective": partial(grpo_loss, clip_eps_low=0.2, clip_eps_high=0.2),
        "aggregation": "sequence_mean",
        "mask_truncated": False,
        "kl_estimator": "k3",
        "kl_coef": 0.1,
        "kl_control": FIXED_KL,
        "guards": NO_GUARDS,
        "optimizer": SGD,
        "schedule": constant,
        "sampling": tiny.sampling(max_new_tokens=8),
        "group_size": 3,
        "iterations": 2,
        "num_updates": 1,
        "micro_batch_tokens": 4096,
        "grad_clip": 1e9,
        **changes,
    }
    settings = GrpoSettings(**given)
    module = GrpoModule(
        settings,
        policy=load(folder),
        engine=engine or PlainEngine(),
        replacements=replacements,
        seed=0,
        monitor=monitor or Recorder(),
    )
    fit(module, micro_batch=4, iterations=settings.iterations, accumulate=1)
    return module
