"""What a phase is given, and what it hands on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from repic.data.module import Examples
from repic.models.engine.sampling import Sampling


@dataclass(frozen=True)
class TrainedModel:
    """A model that a phase has made, or that a run starts from.

    Attributes:
        phase: "base" or the phase that made it.
        checkpoint: its Hugging Face directory, or hub id.
        fingerprint: a hash of its weights and of all else that it reads and writes by.
        started_from: the fingerprint of the model that the phase began with; None for a base.
        time_s: how long the phase took, interruptions left out.
    """

    phase: str
    checkpoint: str
    fingerprint: str
    started_from: str | None
    time_s: float

    def record(self) -> dict[str, Any]:
        """As it stands in ``summary.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Context:
    """The run that a phase is part of.

    Attributes:
        folder: the run's folder.
        cache: where stages that several runs share are kept.
        seed: decides everything random.
        load_policy: called with ``path=`` of a model's directory.
        fingerprint: hashes what a model's directory holds.
        engine: samples, and computes log-probabilities.
        sampling: how evaluations draw captions.
        prompt: writes a prompt down for people, ``prompt.text(example)``.
        dataset: called with ``split``, ``counts``, ``size``, ``seed``; a finite one may have fewer
            examples, or none with some of the counts.
        trainer: makes a Lightning trainer from a phase's own options.
        loggers: beside metrics.jsonl; none on ranks other than 0.
        device: where this rank computes.
        num_workers: processes that make examples ahead of time.
        validate: scores a policy on the validation split, or None.
        settings: plain values of the configuration by group, for keys of shared stages.
    """

    folder: Path
    cache: Path
    seed: int
    load_policy: Callable[..., Any]
    fingerprint: Callable[[str], str]
    engine: Any
    sampling: Sampling
    prompt: Any
    dataset: Callable[..., Examples]
    trainer: Callable[..., pl.Trainer]
    loggers: Sequence[Logger]
    device: torch.device
    num_workers: int
    validate: Callable[[Any], Mapping[str, float]] | None
    settings: Mapping[str, Any]
