"""Run one training phase: resume, fit, export, leave a record."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import Tensor

from repic import distributed, files, ranks, signals
from repic.data.module import ExampleModule, IterationBatches
from repic.models.deferred import deferring
from repic.models.export import export_policy
from repic.models.policy import Policy
from repic.models.sharding import slice_like, whole
from repic.phases.context import Context, TrainedModel
from repic.phases.guards import RunStopped
from repic.phases.loggers import JsonlLogger
from repic.phases.monitor import Monitor, load_checkpoint, trained_weights
from repic.phases.phase import TrainingPhase
from repic.phases.randomness import seed_torch, stream_seed
from repic.phases.work import enough_memory
from repic.types import Examples

log = logging.getLogger(__name__)


def train(
    phase: TrainingPhase,
    context: Context,
    start: TrainedModel,
    dataset: Examples,
    make_module: Callable[..., Any],
    *,
    batch_size: int,
    micro_batch: int,
    validate: Callable[[Policy], Mapping[str, float]] | None,
    show: Mapping[str, str],
    content: Callable[[], str | None] | None = None,
    folder: Path | None = None,
    metrics: Path | None = None,
    **trainer: Any,
) -> TrainedModel:
    """Train a policy from ``start`` and export it, or return what an earlier run has exported.

    Args:
        dataset: examples in the order of training.
        make_module: called with ``policy`` and ``monitor``.
        batch_size: examples of an iteration.
        micro_batch: examples that the module receives at a time.
        validate: scores the policy.
        show: numbers on the progress bar.
        content: tells what the dataset shows by what it holds; None where the folder's name does.
        folder: becomes the trained model's Hugging Face directory; the state to resume from
            lies beside it until then. None: one of the run's checkpoints.
        metrics: the JSON Lines file that numbers go to; None: the run's.
        trainer: the phase's own options of Lightning's trainer.
    """
    name, iterations = phase.name, phase.iterations
    folder = folder or context.folder / "checkpoints" / name
    is_main = distributed.rank() == 0
    # Now, and not when it ends: what is changed meanwhile was not learnt from.
    holds = distributed.from_main(content() if content and is_main else None)
    jsonl = JsonlLogger(metrics or context.folder / "metrics.jsonl", name)
    monitor = Monitor(
        name,
        started_from=start.fingerprint,
        learns_from=holds,
        iterations=iterations,
        checkpoint=folder.with_name(f"{folder.name}.resume.pt"),
        checkpoint_every=phase.checkpoint_every,
        val_every=phase.val_every,
        validate=on_whole_weights(validate),
        loggers=[jsonl, *context.loggers] if distributed.rank() == 0 else [],
        show=show,
    )

    def asked() -> str:
        """What a model has to be made of, to be the one that is asked for."""
        return files.key_of([name, start.fingerprint, holds])

    done = finished(folder, asked, context.fingerprint) if is_main else None
    if (done := distributed.from_main(done)) is not None:
        log.info("%s: already done, %s", name, folder)
        if is_main:
            monitor.forget()  # if a kill came between the two
        return done
    # Adapters begin at random, whatever this process has drawn so far.
    seed_torch(stream_seed(context.seed, name, "adapters"), torch.device("cpu"))
    policy = load_start(context, start)
    module = make_module(policy=policy, monitor=monitor)
    optimizer_state = load_checkpoint(monitor, module)
    if module.iteration:
        log.info("%s: goes on after iteration %d of %d", name, module.iteration, iterations)
    if distributed.rank() == 0:
        monitor.logged = jsonl.keep(module.iteration)
    if monitor.owes_validation:
        monitor.catch_up(module)
    batches = IterationBatches(
        len(dataset),
        seed=context.seed,
        batch_size=batch_size,
        micro_batch=micro_batch,
        iterations=(module.iteration, iterations),
        rank=(distributed.rank(), distributed.world_size()),
    )
    clock = LifecycleCallback(monitor, optimizer_state)
    if module.iteration < iterations:
        policy.train()
        if shares_weights(context):
            trainer["strategy"] = ModelParallelStrategy(
                data_parallel_size=distributed.world_size(), tensor_parallel_size=1
            )
        examples = ExampleModule(dataset, batches=batches, num_workers=context.num_workers)
        root = context.folder / "lightning"
        fit(name, module, examples, context.trainer, root=root, callbacks=[clock], **trainer)
    for logger in monitor.loggers:
        logger.save()
    return export(name, context, start, folder, policy, monitor, asked)


def shares_weights(context: Context) -> bool:
    """Whether ranks keep slices of the weights; one alone keeps all."""
    return context.strategy == "fsdp" and distributed.world_size() > 1


def load_start(context: Context, start: TrainedModel) -> Policy:
    """Load what a phase starts from; with FSDP no process holds all of it at any time."""
    if not shares_weights(context):
        return context.load_policy(path=start.checkpoint)
    with deferring():
        policy = context.load_policy(path=start.checkpoint)
    policy.shard(context.device)
    return policy


def on_whole_weights(
    validate: Callable[[Policy], Mapping[str, float]] | None,
) -> Callable[[Policy], Mapping[str, float]] | None:
    """Validate with weights that are gathered once, as ranks decode unequal numbers of steps."""

    def validate_whole(policy: Policy) -> Mapping[str, float]:
        assert validate is not None
        with policy.gathered():
            return validate(policy)

    return None if validate is None else validate_whole


def fit(
    phase: str,
    module: Any,
    examples: ExampleModule,
    make_trainer: Callable[..., Any],
    *,
    root: Path,
    **options: Any,
) -> None:
    """Let Lightning run the iterations, and nothing else of what it can do.

    In a Slurm job it would write checkpoints of its own into the working directory at SIGUSR1,
    and load whichever lies there: ``root`` is a folder that nobody writes to, and the processes
    are those of ``repic.ranks``, or this one, whatever Slurm says.

    Raises:
        Stopped: by a signal; says which iteration the phase goes on after.
    """
    trainer = make_trainer(
        **options,
        default_root_dir=root,
        plugins=[TorchElasticEnvironment() if ranks.are_named() else LightningEnvironment()],
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    lower = f"lower phase.{phase}.micro_batch"
    try:
        with signals.patient(), enough_memory(phase, lower, module.monitor):
            trainer.fit(module, examples)
    except signals.Stopped as stop:
        stop.saved = f"{phase} is saved up to iteration {module.monitor.saved} of"
        stop.saved += f" {module.iterations}"
        raise


class LifecycleCallback(Callback):
    """Start and stop what surrounds the iterations; restore the optimizer; save at a stop."""

    def __init__(self, monitor: Monitor, optimizer_state: dict[str, Any] | None) -> None:
        self.monitor, self.optimizer_state = monitor, optimizer_state

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        signals.retake()  # Lightning's handler of SIGTERM talks to other ranks, who may not listen
        if self.optimizer_state is not None:
            optimizer = trainer.optimizers[0]
            optimizer.load_state_dict(state_like(self.optimizer_state, optimizer))
        if distributed.rank() == 0:
            self.monitor.progress.start(pl_module.iteration)
        self.monitor.tick = time.perf_counter()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.monitor.is_whole = False

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.monitor.progress.stop()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.monitor.progress.stop()
        monitor, optimizer = self.monitor, trainer.optimizers[0]
        if isinstance(exception, RunStopped):
            monitor.save(pl_module, optimizer)
        is_new = monitor.is_whole and pl_module.iteration > monitor.saved
        if pl_module.policy.sharding is not None:
            return  # the other ranks are somewhere else, and have the other slices
        if isinstance(exception, signals.Stopped) and is_new:
            monitor.save(pl_module, optimizer, is_last_act=True)


def state_like(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """Cut an optimizer's whole moments as its parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    cut = {
        number: {
            name: slice_like(value, parameters[number]) if isinstance(value, Tensor) else value
            for name, value in kept.items()
        }
        for number, kept in state["state"].items()
    }
    return {**state, "state": cut}


def export(
    phase: str,
    context: Context,
    start: TrainedModel,
    folder: Path,
    policy: Policy,
    monitor: Monitor,
    asked: Callable[[], str],
) -> TrainedModel:
    """Write the trained model as a Hugging Face directory and declare the phase done."""
    made = None
    policy.zero_grad()  # gradients are of no more use, and take memory
    complete = policy if policy.sharding is None else gathered_on_main(policy, context, start)
    if distributed.rank() == 0:
        assert complete is not None
        files.write_folder(
            folder, lambda part: export_policy(complete, part, sampling=context.sampling)
        )
        made = TrainedModel(
            phase=phase,
            checkpoint=str(folder),
            fingerprint=context.fingerprint(str(folder)),
            started_from=start.fingerprint,
            time_s=round(monitor.time_s, 1),
        )
        files.mark_done(folder, {**made.record(), "asked": asked()})
        monitor.forget()
    distributed.barrier()
    made = distributed.from_main(made)
    assert made is not None
    return made


def gathered_on_main(policy: Policy, context: Context, start: TrainedModel) -> Policy | None:
    """Put the trained weights together on rank 0's CPU; None on the others."""
    copy = context.load_policy(path=start.checkpoint) if distributed.rank() == 0 else None
    places = trained_weights(copy) if copy is not None else {}
    for name, weight in trained_weights(policy).items():
        gathered = whole(weight)  # one at a time
        if copy is not None:
            places[name].copy_(gathered)
    return copy


def finished(
    folder: Path, asked: Callable[[], str], fingerprint: Callable[[str], str]
) -> TrainedModel | None:
    """Return the model that a phase has left in a folder, wherever that has been moved since.

    A folder whose mark speaks of another model than was asked for, or than lies beside it, is set
    aside with a word, so that nothing is lost.

    Args:
        folder: of the model, with its mark.
        asked: tells what the model has to be made of.
        fingerprint: hashes what a folder holds.
    """
    if not (folder / files.DONE).exists():
        return None
    try:
        record = files.read_done(folder)
        if record is None:
            raise ValueError("files have gone or changed since it was finished")
        if record.pop("asked", None) != asked():
            raise ValueError("was made from another model, or of other data, than there are now")
        place = str(folder / files.DONE)
        done = files.as_shape(TrainedModel, record, place, is_closed=True)
        if done.fingerprint != fingerprint(str(folder)):
            raise ValueError("holds another model than the one that was trained")
    except ValueError as error:
        log.warning("%s: %s; it is now %s, and made anew", folder, error, files.set_aside(folder))
        return None
    return replace(done, checkpoint=str(folder))
