"""Make the parts of a run from its configuration: all that instantiates what conf/ names.

With repic.run, repic.sweep and repic.bench the only part that knows Hydra; below them there are
plain values and objects. Imports of torch and of everything that needs it wait until there is
something to make.
"""

import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict

from annotated_types import Ge, Le, Predicate
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from repic import files, settings
from repic.errors import explain
from repic.values import (
    Concepts,
    Count,
    Door,
    FolderName,
    Names,
    Scale,
    Seconds,
    Seed,
    Text,
    Weight,
    holds_a_part,
    is_number_key,
    nearest,
)

if TYPE_CHECKING:
    from repic.models.policy import Policy
    from repic.phases.context import DatasetMaker, SettingsKey
    from repic.phases.phase import Phase
    from repic.phases.pipeline import Questions, RunParts
    from repic.rewards.rubric import Rubric
    from repic.types import Example

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
# What a saved run's data may be made of, whoever has written its config.yaml: conf/data's classes.
DATA_CLASSES = (
    "repic.data.folder.FolderDataset",
    "repic.data.masked.MaskedPhotos",
    "repic.data.montages.MontageDataset",
    "repic.data.noise.NoiseExamples",
    "repic.data.personal.PhotoDataset",
    "repic.data.repic_train.RepicTrainDataset",
    "repic.toybox.cast.CastScenes",
    "repic.toybox.clips.ClipDataset",
    "repic.toybox.dataset.CaptionDataset",
    "repic.toybox.dataset.SceneRules",
    "repic.toybox.mixture.TaskMixture",
)
Part = Callable[..., Any]
MaybePart = Part | None
# A phase that is not chosen still has what other groups put there: its guards, a debug's settings.
HoldsPart = Annotated[object, Predicate(holds_a_part)]
MaybeText = Text | None
MaybeNumberKey = Annotated[str, Predicate(is_number_key)] | None
MaybeSeconds = Seconds | None
OwnRewards = Text | Sequence[Text] | Mapping[str, Weight] | None


class TrainerOptions(TypedDict):
    """What Lightning's trainer is told beside a phase's own options."""

    accelerator: Literal["cpu", "gpu"]
    devices: NotRequired[Count]
    strategy: Literal["auto", "ddp", "fsdp"]


TRAINER = {
    "trainer.threads": Annotated[int, Ge(1), Le(1024)],
    "trainer.num_workers": Annotated[int, Ge(0), Le(1024)],
    "trainer.options": TrainerOptions,
}
# What every command that loads a model reads of it.
MODEL_KEYS = {"model": Part, "model.path": Text, "engine": Part, **TRAINER}
# Of what a run asks beside captions: what it is, and which data has it.
ASKING = {
    "recognize": ("yes-or-no questions", "data=toybox_cast, dreambooth, myvlm or yollava"),
    "ask": ("questions to choose an answer to", "data=toybox_cast or data=yollava"),
}
# What the code here and in run.py reads itself; all else is the argument of a part, whose signature
# says what it may be.
READ = {
    "name": FolderName,
    "seed": Seed,
    "outputs": Text,
    "fresh": bool,
    "optimize": MaybeNumberKey,
    "debug.traceback": bool,
    "debug.overrides": Mapping[str, Any],
    "table.form": Text,
    "report.scenes_per_count": Annotated[int, Ge(0), Le(10**4)],
    "report.scale": Scale,
    "method.phases": Names,
    "method.evaluated": Names,
    "phase": Mapping[str, Part | HoldsPart],
    "captioner": Mapping[str, Part],
    **MODEL_KEYS,
    "metrics": Part,
    "retrieval": MaybePart,
    "judge": MaybePart,
    "logger": Part,
    "data.prompt": Part,
    **{f"data.{split}": MaybePart for split in SPLITS},
    "data.friends": MaybePart,
    **{f"data.{task}": MaybePart for task in ASKING},
    "task": Literal["caption", "recognize", "ask"],
    "reward.rubric": MaybePart,
    "reward.own": OwnRewards,
    "reward.seconds": MaybeSeconds,
}

# Variables of files, which others refer to or not: with length=none nothing depends on them.
SPARE = ("reward.prose", "reward.naming")


def checked(key: str, value: Any) -> Any:
    """A value that is needed before the others can be checked.

    Raises:
        ValueError: it is none that the key may have.
    """
    Door({key: value}, {key: value}).check({key: READ[key]})
    return value


def check_values(
    cfg: DictConfig, overrides: Collection[str], *, read: Mapping[str, Any] = READ
) -> dict[Any, Any]:
    """Hold every value to the signature of who takes it, before any part is made.

    Args:
        cfg: the configuration.
        overrides: the command line's.
        read: keys that are no part's -> what they may be.

    Returns:
        The configuration as plain values.

    Raises:
        ValueError: a value is none that its key may have, or nothing reads it; names the key.
    """
    quieten_loggers()  # classes are imported here
    raw: Any = OmegaConf.to_container(cfg)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    removed = [settings.split_override(o)[0] for o in overrides if o[0] == "~"]
    door = Door(raw, resolved, removed=removed)
    door.check(read)
    door.refuse_untaken(given_keys(cfg, overrides))
    return resolved


def refuse_unread_files(cfg: DictConfig) -> None:
    """Raise for what files of one's own set and nothing reads.

    Args:
        cfg: what the chosen files compose to, without the values that a command gives: one that
            takes the place of a reference leaves unread what it led to.
    """
    raw: Any = OmegaConf.to_container(cfg)
    try:
        resolved: Any = OmegaConf.to_container(cfg, resolve=True)
        door = Door(raw, resolved)
        door.check(READ)
    except (ValueError, OmegaConfBaseException):
        return  # is told where a command does not mend it
    door.refuse_untaken([key for key in door.untaken() if key not in SPARE])


def given_keys(cfg: DictConfig, overrides: Collection[str]) -> list[str]:
    """Keys whose values a command gives; a group's choice stands for a branch, and is none."""
    given = []
    for key, value in (settings.split_override(o) for o in overrides if o[0] != "~"):
        if value[:1] == "{" or not isinstance(OmegaConf.select(cfg, key), DictConfig):
            given.append(key)
    return given


def assemble(cfg: DictConfig, folder: Path, resolved: dict[Any, Any]) -> "RunParts":
    """Instantiate every part of a run.

    Nothing is computed yet; mistakes in the configuration show here.
    """
    import pytorch_lightning as pl
    import torch

    from repic import distributed
    from repic.captioners.system import System
    from repic.models.directory import fingerprint
    from repic.phases.context import Context, TrainedModel
    from repic.phases.pipeline import BASE, MODEL, RunParts
    from repic.rewards.function import add_own

    torch.set_num_threads(cfg.trainer.threads)
    quieten()
    metrics = make(cfg.metrics)
    reward = resolved["reward"]  # cfg.reward.own as plain values
    rubric = add_own(make(cfg.reward.rubric), reward.get("own"), seconds=reward.get("seconds"))
    retrieval = make(cfg.retrieval)
    evaluation = make(cfg.phase.evaluate, metrics=metrics, rubric=rubric, retrieval=retrieval)
    validation = make(cfg.phase.validate, metrics=metrics, rubric=None, retrieval=None)
    phases = make_phases(cfg, rubric)
    accelerator = cfg.trainer.options.accelerator
    device = torch.device("cpu" if accelerator == "cpu" else f"cuda:{distributed.local_rank()}")
    strategy = cfg.trainer.options.strategy
    trainer = {**make(cfg.trainer.options), **distributed.layout(strategy)}
    if strategy == "fsdp":
        trainer["strategy"] = "auto"  # for one rank; a phase that several share brings its own
    context = Context(
        folder=folder,
        cache=(folder if cfg.fresh else Path(cfg.outputs).absolute()) / "cache",
        seed=cfg.seed,
        load_policy=instantiate(cfg.model, _partial_=True, _convert_="all"),
        trains_adapters_alone=bool(cfg.model.lora) and not cfg.model.train_vision,
        fingerprint=fingerprint,
        engine=make(cfg.engine),
        sampling=evaluation.sampling,
        prompt=make(cfg.data.prompt),
        dataset=dataset_maker(cfg.data),
        strategy=strategy,
        trainer=lambda **options: pl.Trainer(**{**trainer, **options}),
        loggers=[make(cfg.logger)(save_dir=folder)] if distributed.rank() == 0 else [],
        device=device,
        num_workers=cfg.trainer.num_workers,
        validate=lambda policy: validation.validate(policy, context),
        validated=lambda: validation.content(context),
        settings_key=settings_key_of(resolved),
        check_validation=lambda: validation.sets(context),
        friends=cache(lambda: make(cfg.data.get("friends")) or ()),
    )
    evaluated = list(cfg.method.evaluated)
    own = {name: make(cfg.captioner[name]) for name in cfg.captioner if name in evaluated}
    known = [BASE, MODEL, *cfg.method.phases, *cfg.captioner]
    if strangers := [name for name in evaluated if name not in known]:
        wrong = f"{strangers[0]!r} is not one of {', '.join(known)}{nearest(strangers[0], known)}"
        raise ValueError(f"method.evaluated: {wrong}; those that train are in method.phases")
    called = MODEL if MODEL in evaluated else BASE
    first = next(iter(phases.values()), None)
    path = str(cfg.model.path)
    needs_start = called in evaluated or (first is not None and first.needs_model)
    needs_start |= any(isinstance(captioner, System) for captioner in own.values())
    start = TrainedModel(called, path, fingerprint(path), None, 0.0) if needs_start else None
    questions = make_questions(cfg)
    return RunParts(context, start, phases, own, evaluated, evaluation, questions)


def make_questions(cfg: DictConfig) -> "Questions | None":
    """Make what is asked beside captions, of the questions that the data has; None: nothing."""
    if cfg.task not in ASKING:
        return None
    if cfg.data.get(cfg.task) is None:
        kind, where = ASKING[cfg.task]
        raise ValueError(f"task: this data has no {kind}; use {where}")
    return make(cfg.data[cfg.task])


def make_phases(cfg: DictConfig, rubric: "Rubric | None") -> "dict[str, Phase]":
    """Make a method's phases; those that ask for the rubric get it, if it has any weight."""
    phases = {}
    for name in cfg.method.phases:
        node = cfg.phase.get(name)
        if not isinstance(node, DictConfig) or "_target_" not in node:
            if name in cfg.phase:
                raise ValueError(
                    f"phase.{name}: has no _target_, so it is no phase; list it in phase="
                )
            near = nearest(name, cfg.phase)
            raise ValueError(f"method.phases: there is no phase {name!r}{near}")
        shared = {"rubric": rubric} if OmegaConf.is_missing(node, "rubric") else {}
        if shared and (rubric is None or not rubric.weights.any()):
            log.info("no reward has a weight, so %s has nothing to learn and is left out", name)
            continue
        phases[name] = make(node, **shared)
        if phases[name].name != name:
            raise ValueError(f"phase.{name}: calls itself {phases[name].name!r}; use one name")
    return phases


def settings_key_of(resolved: dict[Any, Any]) -> "SettingsKey":
    """Return what hashes parts of a configuration, by dotted key."""

    def settings_key(*parts: str, without: Collection[str] = ()) -> str:
        values = {part: reduce(getitem, part.split("."), resolved) for part in parts}
        for part, value in values.items():
            if isinstance(value, dict):
                values[part] = {k: v for k, v in value.items() if f"{part}.{k}" not in without}
        return files.key_of(values)

    return settings_key


def make(node: DictConfig | None, **arguments: Any) -> Any:
    """Instantiate a part from plain values; none for null."""
    return instantiate(node, _convert_="all", **arguments)


def load_model(cfg: DictConfig, path: str, prompt: Any) -> "Policy":
    """Load a model for a command that is no run, onto the device that the command names.

    Args:
        cfg: the configuration.
        path: the model's directory.
        prompt: words its prompts.
    """
    load = instantiate(cfg.model, _partial_=True, _convert_="all")
    device = "cpu" if cfg.trainer.options.accelerator == "cpu" else "cuda"
    return load(path=path, prompt=prompt).to(device)


def dataset_maker(data: DictConfig) -> "DatasetMaker":
    """Return a function of (split, counts, size, seed, other keys) that gives a dataset.

    Phases say size and seed where the split's configuration leaves them open (``???``): a value
    there, or null, stands. Other keys are changed where the configuration has them.
    """

    def dataset(*, split: str, counts: Any, size: int, seed: int, **changes: Any) -> Any:
        node = data.get(split)
        if node is None:
            splits = [key for key in SPLITS if data.get(key) is not None]
            raise ValueError(f"data.{split}: this data has no such split, only {splits}")
        asked = {"size": size, "seed": seed}
        given = {k: v for k, v in asked.items() if OmegaConf.is_missing(node, k)}
        given |= {k: v for k, v in changes.items() if k in node}
        return make(node, counts=counts, **given)

    return dataset


class UntrustedError(Exception):
    """A saved run wants more to be made of it than data of this package."""


@dataclass(frozen=True)
class _Evaluate:
    split: str
    per_count: int
    seed: int
    demonstrations: Literal["right", "wrong_images", "wrong_infos"]


@dataclass(frozen=True)
class _Phases:
    evaluate: _Evaluate


@dataclass(frozen=True)
class _Metrics:
    counts: tuple[Concepts, ...]


@dataclass(frozen=True)
class _Retrieval:
    scenes_per_album: int


@dataclass(frozen=True)
class _Saved:
    """What a run's ``config.yaml`` has to say of the examples that were captioned."""

    data: dict[str, Any]
    phase: _Phases
    metrics: _Metrics
    retrieval: _Retrieval | None = None


def _read_saved(folder: Path, trusted: Collection[str]) -> _Saved:
    """Read what a run's data are made from, if that may be done; see ``saved_examples``."""
    path = folder / settings.FILE
    tree = settings.config_of(folder)
    if tree is None:
        raise ValueError(f"{path}: there is no such file; a run writes it when it begins")
    found = files.as_shape(_Saved, tree, str(path))
    place = f"data.{found.phase.evaluate.split}"
    for node in _nodes(found.data.get(found.phase.evaluate.split)):
        name = node.get("_target_") if isinstance(node, dict) else None
        if name is not None and name not in (*DATA_CLASSES, *trusted):
            raise UntrustedError(
                f"{path}: {place} is made by {files.shown(name)}, which is no data class of repic;"
                f" if you trust who wrote it, --trust {name}; --no-pictures makes nothing"
            )
        if isinstance(node, str) and "${" in node:
            raise UntrustedError(
                f"{path}: {place} holds {files.shown(node)}, which would be looked up on this"
                " machine; a run writes down values"
            )
    tree = {"data": {found.phase.evaluate.split: found.data.get(found.phase.evaluate.split)}}
    with files.at(str(path)):
        Door(tree, tree).check({})
    return found


def _nodes(tree: Any) -> Iterator[Any]:
    """A tree of lists and mappings, and all that it holds."""
    yield tree
    if isinstance(tree, dict | list):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(part)


def saved_examples(
    folder: Path, *, scale: float, trusted: Collection[str] = ()
) -> "Iterator[Example]":
    """Make the examples again that a finished run captioned, from its ``config.yaml``.

    Args:
        folder: of the run.
        scale: resolution of drawn pictures, whatever the model has seen.
        trusted: classes that data may be made by beside ``DATA_CLASSES``, by their dotted paths.

    Raises:
        ValueError: there is no such file, it is malformed, or its data are no longer where they
            were.
        UntrustedError: they would be made by other classes.
    """
    from repic.metrics.caption_files import read_predictions
    from repic.phases.evaluate import evaluated_examples
    from repic.retrieval.retriever import introduce

    saved = _read_saved(folder, trusted)
    asked, retrieval = saved.phase.evaluate, saved.retrieval
    predictions = read_predictions(folder)
    # Whom a retriever found has a picture, and stands before those whom it did not find.
    found = {(p.id, p.num_concepts): p.pool[: len(p.images) - 1] for p in predictions}
    try:
        dataset = dataset_maker(OmegaConf.create(saved.data))
        for count in saved.metrics.counts:
            # A photo that is gone takes no other with it.
            examples = evaluated_examples(dataset, asked, count, scale=scale, missing="skip")
            if retrieval and found:
                names = [found[examples[i].id, count] for i in range(len(examples))]
                size = retrieval.scenes_per_album
                yield from introduce(examples, names, scenes_per_album=size)
            else:
                # A file may say that there are more than anybody has captioned.
                yield from (examples[i] for i in range(min(len(examples), len(predictions))))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        HydraException,
        OmegaConfBaseException,
    ) as error:
        raise ValueError(explain(error)) from error


def quieten_loggers() -> None:
    """Have libraries log no more than warnings."""
    for library in ("pytorch_lightning", "faiss"):  # faiss tells what it tries while it loads
        logging.getLogger(library).setLevel(logging.WARNING)


def quieten() -> None:
    """Keep libraries' bars, and their advice about their own defaults, out of the log."""
    from repic.models.loading import disable_progress_bars

    disable_progress_bars()  # a run has a bar of its own
    quieten_loggers()
    for module in ("pytorch_lightning", "lightning_fabric"):  # which advises srun where it is
        warnings.filterwarnings("ignore", module=module)
