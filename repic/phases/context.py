"""What a phase is given, and what it hands on."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from repic import distributed, files
from repic.captioners.captioner import Caption
from repic.captioners.kept import kept_captions
from repic.data.contents import prompt_content
from repic.models.engine.base import Engine
from repic.models.engine.sampling import Sampling
from repic.models.policy import Policy
from repic.types import Example, Examples, Friend


@dataclass(frozen=True)
class TrainedModel:
    """A model that a phase has made, or that a run starts from.

    Attributes:
        phase: the phase that made it; "base", or "model" where a run only captions with it.
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


class DatasetMaker(Protocol):
    """Gives the examples of a split; a finite one may have fewer, or none with some counts."""

    def __call__(
        self,
        *,
        split: str,
        counts: Mapping[int, float] | Sequence[int],
        size: int,
        seed: int,
        **changes: Any,
    ) -> Examples:
        """Make a dataset.

        Args:
            split: "train", "val" or "test".
            counts: numbers of concepts, a list or weights by count.
            size, seed: how many examples, and which; read where the split leaves them open.
            changes: keys of the split that shall have other values, such as a ``scale``.
        """
        ...


class PromptWriter(Protocol):
    """Words a prompt as chat messages for a model, and writes it down for people."""

    def messages(self, example: Example) -> Sequence[Mapping[str, Any]]: ...

    def text(self, example: Example) -> str: ...


class SettingsKey(Protocol):
    """Hashes parts of the run's configuration, such as "model" or "phase.sft".

    ``without`` are keys that decide nothing, such as "model.path".
    """

    def __call__(self, *parts: str, without: Collection[str] = ()) -> str: ...


@dataclass(frozen=True)
class Context:
    """The run that a phase is part of.

    Attributes:
        folder: the run's folder.
        cache: where models and captions that several runs share are kept; a fresh run shares none.
        seed: decides everything random.
        load_policy: loads the model in a directory, its ``path``.
        trains_adapters_alone: no weight of the base model is trained, only what is added to it.
        fingerprint: hashes what a model's directory holds.
        engine: samples, and computes log-probabilities.
        sampling: how evaluations draw captions.
        prompt: words prompts.
        dataset: the run's data.
        strategy: how processes share the training; see ``Phase.strategies``.
        trainer: makes a Lightning trainer from a phase's own options.
        loggers: beside metrics.jsonl; none on ranks other than 0.
        device: where this rank computes.
        num_workers: processes that make examples ahead of time.
        validate: scores a policy on the validation split, or None.
        validated: hashes what it is scored on.
        settings_key: tells runs with other settings apart, for what runs share.
        check_validation: refuses data that a validation finds nothing in.
        friends: those of the data whom a captioner may have to learn; few data have any.
    """

    folder: Path
    cache: Path
    seed: int
    load_policy: Callable[..., Policy]
    trains_adapters_alone: bool
    fingerprint: Callable[[str], str]
    engine: Engine
    sampling: Sampling
    prompt: PromptWriter
    dataset: DatasetMaker
    trainer: Callable[..., pl.Trainer]
    loggers: Sequence[Logger]
    device: torch.device
    num_workers: int
    validate: Callable[[Policy], Mapping[str, float]] | None
    validated: Callable[[], str]
    settings_key: SettingsKey
    check_validation: Callable[[], object] = dict
    friends: Callable[[], Sequence[Friend]] = tuple
    strategy: str = "auto"

    def kept_captions(
        self,
        examples: Sequence[Example],
        write: Callable[[Sequence[Example]], Sequence[Caption]],
        key: str,
        *beside: str,
        batch_size: int,
        label: str,
    ) -> list[Caption]:
        """One caption, or answer, an example; kept in the cache by what decides them.

        That is the prompts, pictures included, ``key`` and ``beside``. So runs which share a model
        caption with it once, an interrupted evaluation goes on where it was, and a photo that has
        changed is captioned anew.

        Args:
            examples: in an order that stays.
            write: a captioner's ``write`` or ``answer``.
            key: the captioner's.
            beside: what else decides its words.
            batch_size: examples that a rank captions at a time.
            label: what the progress line calls it.
        """
        prompts = [prompt_content(example, self.prompt.messages) for example in examples]
        return kept_captions(
            self.cache / "captions" / f"{files.key_of([key, prompts, *beside])}.jsonl",
            examples,
            write,
            portion=batch_size * distributed.world_size(),
            label=label,
        )
