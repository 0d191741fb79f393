"""A contender of ours: a run's ``GrpoModule`` with one of the engines, as a run trains it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback

from repic.assembly import make
from repic.bench.turns import MarkingRubric, Turns
from repic.data.module import ExampleModule, IterationBatches
from repic.phases.grpo import GrpoModule
from repic.phases.grpo_phase import GrpoPhase
from repic.phases.train import fit
from repic.types import Examples


def take_part(
    cfg: DictConfig, *, model: str, dataset: Examples, turns: Turns, iterations: int
) -> None:
    """Do as many iterations as there are turns; see ``repic.phases.train.train``.

    Args:
        cfg: the bench's configuration, with the ``engine`` of this contender.
        model: path of the model's directory.
        dataset: enough prompts for all iterations.
        turns: orders iterations and measures them.
        iterations: how many there will be.
    """
    phase: GrpoPhase = make(cfg.phase.grpo, rubric=MarkingRubric(turns), iterations=iterations)
    policy = make(cfg.model)(path=model)
    policy.stop_ids = ()  # every caption is as long as allowed
    first = policy.encoder.encode([dataset[i] for i in range(phase.prompts)])
    module = GrpoModule(
        phase,
        policy=policy,
        engine=make(cfg.engine),
        replacements=None,
        seed=cfg.seed,
        monitor=Reporter(turns),
    )
    batches = IterationBatches(
        len(dataset),
        seed=cfg.seed,
        batch_size=phase.prompts,
        micro_batch=phase.prompts,
        iterations=(0, iterations),
        rank=(0, 1),
    )
    examples = ExampleModule(dataset, batches=batches, num_workers=cfg.trainer.num_workers)
    policy.train()
    turns.ready(first.attention_mask.sum().item() / phase.prompts)
    trainer = partial(pl.Trainer, **make(cfg.trainer.options))
    root = Path(cfg.outputs) / "lightning"
    fit("grpo", module, examples, trainer, root=root, callbacks=[Gate(turns)])


class Gate(Callback):
    """Lets an iteration begin when it is this contender's turn."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_train_batch_start(self, *_: Any) -> None:
        self.turns.wait()


class Reporter:
    """Stands in for the monitor: an iteration's end is the end of the turn."""

    saved = 0  # no checkpoints are written

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def log(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Nobody reads it."""

    def iteration_end(
        self, module: Any, metrics: Mapping[str, float], optimizer: torch.optim.Optimizer
    ) -> None:
        self.turns.report()
