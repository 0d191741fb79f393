"""The process of one contender: ``python -m repic.bench.worker``, started by the bench alone.

Its first line of input is what to do, every further line orders a step; what it reports goes to
its output, and everything that libraries say to the log of its errors.
"""

import json
import os
import sys
from typing import Any, TextIO

import torch
from omegaconf import DictConfig, OmegaConf

from repic.assembly import dataset_maker, quieten
from repic.bench import own, peer
from repic.bench.contenders import PEER
from repic.bench.turns import Turns
from repic.models.directory import find_model
from repic.phases.randomness import stream_seed


def main() -> None:
    """Take part in the bench until it ends."""
    reports = take_stdout()
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    cfg = OmegaConf.create(task["settings"])
    assert isinstance(cfg, DictConfig)
    quieten()
    torch.set_num_threads(cfg.trainer.threads)
    iterations = cfg.pairs + 1
    dataset = dataset_maker(cfg.data)(
        split="train",
        counts=cfg.concepts.counts,
        size=iterations * cfg.phase.grpo.prompts,
        seed=stream_seed(cfg.seed, "bench"),
    )
    take_part = peer.take_part if task["contender"] == PEER else own.take_part
    on_gpu = cfg.trainer.options.accelerator != "cpu"
    turns = Turns(sys.stdin, reports, on_gpu=on_gpu)
    model = str(find_model(task["model"]))
    take_part(cfg, model=model, dataset=dataset, turns=turns, iterations=iterations)


def take_stdout() -> TextIO:
    """Keep the output for reports: whatever else is printed goes where errors go."""
    reports = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return reports


if __name__ == "__main__":
    main()
