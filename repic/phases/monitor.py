"""What happens after every iteration of a phase: numbers, progress, validation, checkpoint."""

import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from pytorch_lightning.loggers import Logger
from torch import nn

from repic import distributed, files, signals
from repic.models.policy import Policy
from repic.models.sharding import is_slice, own_slice, slice_like
from repic.phases import sharded_checkpoint
from repic.phases.loggers import JsonlLogger
from repic.progress import ProgressLine
from repic.weights import few, not_finite

log = logging.getLogger(__name__)

ASKED = "asked"  # among what ranks tell each other after an iteration: the signal they were sent


@runtime_checkable
class Resumable(Protocol):
    """What the monitor needs of a phase's module."""

    policy: Policy
    iteration: int

    def extra_state(self) -> dict[str, Any]: ...

    def load_extra_state(self, state: dict[str, Any]) -> None: ...


@runtime_checkable
class IterationListener(Protocol):
    """What a phase's module tells about its iterations; a ``Monitor``, or a test's stand-in."""

    saved: int  # the iteration that an interrupted phase goes on after

    def log(self, metrics: Mapping[str, float], iteration: int) -> None: ...

    def iteration_end(
        self,
        module: Any,
        metrics: Mapping[str, float],
        optimizer: torch.optim.Optimizer,
    ) -> None: ...


class Monitor:
    """Follow one phase's training.

    Args:
        phase: the name in front of every number, as in ``grpo/kl``.
        started_from: fingerprint of the model that the phase began with.
        iterations: how many there will be.
        checkpoint: where the state to resume from is kept.
        checkpoint_every: iterations between checkpoints.
        val_every: iterations between validations; 0 has none.
        learns_from: hash of what the phase's data hold; None where its settings say it all.
        validate: returns ``{"3/accuracy": ...}`` of the policy as it is.
        loggers: receive (numbers, iteration); empty on all ranks but the first.
        show: short label → key of the numbers on the progress bar.
    """

    def __init__(
        self,
        phase: str,
        *,
        started_from: str,
        iterations: int,
        checkpoint: Path,
        checkpoint_every: int,
        val_every: int,
        validate: Callable[[Policy], Mapping[str, float]] | None,
        loggers: Sequence[Logger],
        show: Mapping[str, str],
        learns_from: str | None = None,
    ) -> None:
        self.phase, self.started_from, self.iterations = phase, started_from, iterations
        self.checkpoint, self.checkpoint_every = checkpoint, checkpoint_every
        self.learns_from = learns_from
        self.val_every, self.validate = val_every, validate
        self.loggers = loggers
        self.progress = ProgressLine(phase, iterations, show)
        self.time_s, self.tick = 0.0, time.perf_counter()
        self.saved = 0  # the iteration that an interrupted phase goes on after
        self.is_whole = True  # what is trained is that of the last iteration, and nothing newer
        self.owes_validation = False
        self.logged = 0  # iterations whose numbers an interrupted attempt has sent to loggers

    def iteration_end(
        self,
        module: Resumable,
        metrics: Mapping[str, float],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Record one iteration; ``module.iteration`` is the number of those done by now.

        Args:
            module: what is trained.
            metrics: numbers of the batch, the same on all ranks; but what the machine took (time,
                memory, tokens, mfu) is this rank's.
            optimizer: its state is part of a checkpoint.
        """
        done, now = module.iteration, time.perf_counter()
        seconds = now - self.tick
        self.time_s += seconds
        times = {"time/iteration_s": seconds}
        if "time/rollout_s" in metrics:
            times["time/outside_s"] = seconds - metrics["time/rollout_s"] - metrics["time/update_s"]
        numbers = distributed.lists({**metrics, **times, ASKED: float(signals.asked() or 0)})
        asked = int(max(numbers.pop(ASKED)))  # all ranks end together, whichever was told to
        self.log({key: combine(key, values) for key, values in numbers.items()}, done)
        logging_s = time.perf_counter() - now
        last = done == self.iterations
        is_due = self.val_every and (done % self.val_every == 0 or last)
        self.is_whole, self.owes_validation = True, bool(self.validate and is_due)
        if self.owes_validation and not asked:
            self.catch_up(module)
        if done % self.checkpoint_every == 0 or last or asked:
            self.save(module, optimizer)
        if asked:
            raise signals.Stopped(asked)
        # Logging counts as the next iteration's; validation and checkpoints are nobody's.
        self.tick = time.perf_counter() - logging_s

    def catch_up(self, module: Resumable) -> None:
        """Validate, if that is still to be done after the last iteration."""
        if self.owes_validation and self.validate:
            values = self.validate(module.policy)
            self.log({f"val/{key}": value for key, value in values.items()}, module.iteration)
        self.owes_validation = False

    def log(self, metrics: Mapping[str, float], iteration: int) -> None:
        """Send numbers to every logger; those without a group are filed under the phase.

        Phases share val/ and time/. Lines of metrics.jsonl have the phase beside them; in other
        loggers it leads the key, or two phases would draw one curve.
        """
        named = {k if "/" in k else f"{self.phase}/{k}": v for k, v in metrics.items()}
        own = f"{self.phase}/"
        full = {k if k.startswith(own) else f"{own}{k}": v for k, v in named.items()}
        for logger in self.loggers:
            if isinstance(logger, JsonlLogger):
                logger.log_metrics(named, step=iteration)
            elif iteration > self.logged:  # nothing that was sent can be taken back
                logger.log_metrics(full, step=iteration)
        if distributed.rank() == 0:
            self.progress.update(named, iteration)

    def save(
        self, module: Resumable, optimizer: torch.optim.Optimizer, *, is_last_act: bool = False
    ) -> None:
        """Keep what an interrupted phase needs to go on: trained weights, optimizer, counters.

        The checkpoint before stays beside it, for when this one turns out to be damaged.

        Args:
            module: what is trained.
            optimizer: with its state.
            is_last_act: the other ranks are somewhere else, and not waited for.

        Raises:
            ValueError: weights are NaN or infinite, from which nothing goes on; what was saved
                before stays.
        """
        weights = trained_weights(module.policy)
        is_sharded = any(map(is_slice, weights.values()))
        broken = not_finite((name, own_slice(weight)) for name, weight in weights.items())
        if is_sharded:  # elsewhere all ranks hold the same
            broken = sorted(set(distributed.gather(broken)))
        if broken:
            raise ValueError(
                f"{self.phase}: weights are NaN or infinite after iteration {module.iteration} of"
                f" {self.iterations} ({few(broken)}), and were not saved; lower"
                f" phase.{self.phase}.optimizer.lr; the same command goes on after iteration"
                f" {self.saved}"
            )
        if is_sharded or distributed.rank() == 0:
            state = {
                "iteration": module.iteration,
                "time_s": self.time_s,
                "started_from": self.started_from,
                "learns_from": self.learns_from,
                "ranks": distributed.world_size(),
                "owes_validation": self.owes_validation,
                "weights": weights,
                "optimizer": optimizer.state_dict(),
                "extra": module.extra_state(),
            }
            for logger in self.loggers:
                logger.save()  # a checkpoint is of no use without the numbers that led to it
            earlier = before(self.checkpoint)
            if is_sharded:
                sharded_checkpoint.write(self.checkpoint, state, earlier=earlier)
            else:
                if self.checkpoint.is_dir():  # the phase was sharded when it was begun
                    files.remove(earlier)
                    self.checkpoint.rename(earlier)
                elif earlier.is_dir():
                    files.remove(earlier)
                files.write_file(
                    self.checkpoint, lambda part: torch.save(state, part), earlier=earlier
                )
        self.saved = module.iteration
        if not is_last_act:
            distributed.barrier()

    def forget(self) -> None:
        """Remove the checkpoints of a phase that is done."""
        for path in (self.checkpoint, before(self.checkpoint)):
            files.remove(path)


def before(checkpoint: Path) -> Path:
    """Where the checkpoint before the last one is."""
    return checkpoint.with_name(f"{checkpoint.name}.before")


def combine(key: str, values: Sequence[float]) -> float:
    """Put together what the ranks took: tokens in all, the most memory of one, times on average.

    Numbers of other kinds are those of the batch, the same on every rank.
    """
    group, slash, _ = key.partition("/")
    combined = {"time/": statistics.fmean, "mfu/": statistics.fmean, "memory/": max, "tokens/": sum}
    return combined.get(group + slash, next)(iter(values))


def trained_weights(policy: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that training changes; the others are in the model it started from."""
    return {
        name: parameter.detach()
        for name, parameter in policy.named_parameters()
        if parameter.requires_grad
    }


def load_checkpoint(monitor: Monitor, module: Resumable) -> dict[str, Any] | None:
    """Put a phase back to where its last good checkpoint was taken.

    One that is damaged, or of another model or other data, is set aside with a word, and the one
    before it is taken. All ranks call this together.

    Returns:
        The optimizer's state, for when there is an optimizer; None without a checkpoint.

    Raises:
        ValueError: the checkpoint is of another number of ranks, which would not go on alike.
    """
    weights, state = trained_weights(module.policy), None
    for path in (monitor.checkpoint, before(monitor.checkpoint)):
        if not distributed.from_main(path.exists()):
            continue
        state, complaint = _read_checkpoint(path, module.policy, monitor)
        distributed.barrier()  # all have read it
        if state is not None:
            break
        if distributed.rank() == 0:
            aside = files.set_aside(path)
            log.warning("%s: %s; it is now %s", path, complaint, aside.name)
    if state is None:
        return None
    refuse_other_ranks(
        state.get("ranks", distributed.world_size()), module.policy, monitor.checkpoint
    )
    for name, value in state["weights"].items():
        weights[name].copy_(slice_like(value, weights[name]))
    module.iteration, monitor.time_s = state["iteration"], state["time_s"]
    monitor.saved, monitor.owes_validation = module.iteration, state.get("owes_validation", False)
    module.load_extra_state(state["extra"])
    return state["optimizer"]


def _read_checkpoint(
    path: Path, policy: nn.Module, monitor: Monitor
) -> tuple[dict[str, Any] | None, str]:
    """Return a checkpoint's state, or None and why it is of no use."""
    try:
        state = sharded_checkpoint.read(path, getattr(policy, "sharding", None))
        shapes = {name: value.shape for name, value in state["weights"].items()}
        missing = {"iteration", "time_s", "started_from", "optimizer", "extra"} - set(state)
    except Exception as error:  # of many kinds, by where the file ends or what it is
        return None, f"is no whole checkpoint ({next(iter(str(error).splitlines()), 'empty')})"
    if missing:
        return None, f"is of another release: it has no {', '.join(sorted(missing))}"
    if shapes != {name: value.shape for name, value in trained_weights(policy).items()}:
        return None, "was written for other trainable weights than there are now"
    if state["started_from"] != monitor.started_from:
        return None, "was written for another model to start from than there is now"
    if state.get("learns_from") != monitor.learns_from:
        return None, "was written for other data to learn from than there are now"
    return state, ""


def refuse_other_ranks(ranks: int, policy: nn.Module, checkpoint: Path) -> None:
    """Refuse to go on with another number of ranks where that changes what is learnt.

    Examples are dealt out anew, and add up to the same batch; but dropout draws its masks for
    those that go through the model together.
    """
    shares = [
        getattr(m, "p" if isinstance(m, nn.Dropout) else "attention_dropout", 0)
        for m in policy.modules()
    ]
    if any(shares) and ranks != distributed.world_size():
        raise ValueError(
            f"{checkpoint}: was written by {ranks} process{'' if ranks == 1 else 'es'}, and there"
            f" are {distributed.world_size()} now: with dropout that would not go on alike; start"
            f" {ranks}, or begin anew with fresh=true"
        )
