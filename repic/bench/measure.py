"""Measure one configuration: give contenders their processes, a model, and turns."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from repic import files
from repic.assembly import make, quieten
from repic.bench.contenders import PEER, Contender, take_turns
from repic.bench.figures import Step, append_step

log = logging.getLogger(__name__)


def measure(
    cfg: DictConfig,
    names: Sequence[str],
    folder: Path,
    started: str,
    *,
    value: str,
    overrides: str,
) -> list[Step]:
    """Let contenders take turns; every step is in the file as soon as it is done."""
    steps: list[Step] = []

    def report(contender: Contender, number: int, numbers: dict[str, Any]) -> None:
        assert contender.first is not None
        step = Step(
            started=started,
            overrides=overrides,
            value=value,
            contender=contender.name,
            round=number,
            load=os.getloadavg()[0],
            **contender.first,
            **numbers,
        )
        steps.append(step)
        append_step(folder / "steps.csv", step)
        label = f"{number}/{cfg.pairs}" if number else "warm-up"
        log.info("%s %s: %.2f s CPU, %.2f s", label, step.contender, step.cpu_s, step.wall_s)

    with started_contenders(cfg, names, folder, value) as ready:
        take_turns(ready, rounds=cfg.pairs + 1, report=report)
    return steps


@contextmanager
def started_contenders(
    cfg: DictConfig, names: Sequence[str], folder: Path, value: str
) -> Iterator[list[Contender]]:
    """Start a process for each contender, and end them all in the end."""
    model = str(cfg.model.path if cfg.scratch is None else random_model(cfg))
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    with ExitStack() as stack:
        ready = []
        for name in names:
            engine = None if name == PEER else engine_settings(name)
            task = {"contender": name, "model": model, "settings": {**resolved, "engine": engine}}
            log_file = folder / f"{name}{value and f'_{value}'}.log"
            contender = Contender(name, task, log_file=log_file, threads=cfg.trainer.threads)
            stack.callback(contender.close)
            ready.append(contender)
        yield ready


def engine_settings(name: str) -> Any:
    """What conf/engine/ says of an engine."""
    composed = hydra.compose("config", overrides=[f"engine={name}"])
    return OmegaConf.to_container(composed.engine)


def random_model(cfg: DictConfig) -> Path:
    """Make the bench's model, unless an earlier bench has made the same."""
    key = files.key_of(OmegaConf.to_container(cfg.scratch, resolve=True))
    folder = Path(cfg.outputs).absolute() / "cache" / "bench" / key
    if not folder.exists():
        quieten()
        build = make(cfg.scratch)
        try:
            files.write_folder(folder, lambda part: build(folder=part))
        except ValueError as error:
            raise ValueError(f"scratch.{error}") from error
    return folder
