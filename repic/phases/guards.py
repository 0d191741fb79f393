"""Guards: what ends a run that has gone wrong, or cools it down.

A guard watches one number of every iteration. When it is past its limit for ``patience`` iterations
in a row, the guard acts, and counts from 0 again: so a run that was stopped and is started again
has as many iterations to recover.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from annotated_types import Ge, Le

from repic.values import Count, Number, PositiveShare

log = logging.getLogger(__name__)

KEY = "phase.grpo.guards"
STOP, COOL = "stop", "cool"


class RunStopped(ValueError):
    """A guard has ended a run; says why, and how to go on."""


class GuardSpec(NamedTuple):
    """What a guard looks at.

    Attributes:
        metric: its key, or the first part of several keys, of which the worst counts.
        name, unit: what it is called in a message.
        side: 1 if it may be at most its limit, -1 if at least.
        mend: what may help, for a message.
    """

    metric: str
    name: str
    unit: str
    side: int
    mend: str


GUARD_SPECS = {
    "max_kl": GuardSpec(
        "grpo/kl",
        "the KL from the reference",
        " nats per token",
        1,
        "a higher kl.coef or a lower phase.grpo.optimizer.lr",
    ),
    "max_length": GuardSpec(
        "grpo/length",
        "the mean length of captions",
        " tokens",
        1,
        "a reward that does not pay for length",
    ),
    "min_entropy": GuardSpec(
        "grpo/entropy",
        "the policy's entropy",
        " nats per token",
        -1,
        "a higher kl.coef or a lower phase.grpo.optimizer.lr",
    ),
    "max_sampler_gap": GuardSpec(
        "grpo/sampler_gap",
        "the difference of the sampler's log-probabilities from the policy's",
        " nats per token",
        1,
        "the server started again, with the model's dtype, or engine=packed",
    ),
    "max_skipped_frac": GuardSpec(
        "grpo/skipped_frac",
        "the share of updates without a finite loss and gradient",
        "",
        1,
        "a lower phase.grpo.optimizer.lr, or model.dtype=float32",
    ),
    "max_failed_frac": GuardSpec(
        "grpo/failed_frac/",
        "the share of captions that could not be judged",
        "",
        1,
        "a look at what judges them: it may be down",
    ),
    "max_inapplicable_frac": GuardSpec(
        "grpo/inapplicable_frac/",
        "the share of captions to which a reward of your own does not apply",
        "",
        1,
        "a look at the function: it returns None or NaN, or its `tasks` are not those of the data",
    ),
}


class Limit(TypedDict):
    """A guard's settings: a number or None (off), iterations in a row, and what is done."""

    limit: Number | None
    patience: Count
    action: Literal["stop", "cool"]


@dataclass(frozen=True, kw_only=True)
class Guards:
    """Limits of a run.

    Attributes:
        max_kl: nats per token from the reference.
        max_length: tokens of a caption, mean over the iteration's.
        min_entropy: nats per token.
        max_sampler_gap: nats per token between what a caption was drawn with and what it is learnt
            from with, mean over the iteration's tokens.
        max_skipped_frac: share of an iteration's updates that were dropped for not being finite.
        max_failed_frac: share of rollouts for which a component could not be computed; the
            component with the largest share counts.
        max_inapplicable_frac: share of rollouts that a component of one's own gave no number; the
            component with the largest share counts.
        cool_lr: factor of the learning rate when a guard cools, in (0, 1].
        cool_kl: factor of the KL coefficient then, at least 1.
    """

    max_kl: Limit
    max_length: Limit
    min_entropy: Limit
    max_sampler_gap: Limit
    max_skipped_frac: Limit
    max_failed_frac: Limit
    max_inapplicable_frac: Limit
    cool_lr: PositiveShare
    cool_kl: Annotated[float, Ge(1), Le(1e6)]

    def active(self) -> Iterator[tuple[str, Limit]]:
        """Names and settings of the guards that have a limit."""
        for field in fields(self):
            if field.name in GUARD_SPECS and getattr(self, field.name)["limit"] is not None:
                yield field.name, getattr(self, field.name)

    @property
    def may_cool(self) -> bool:
        """Whether any guard cools a run instead of stopping it."""
        return any(guard["action"] == COOL for _, guard in self.active())

    def check(self, kl_coef: float) -> None:
        """Refuse cooling that would change nothing."""
        if self.may_cool and self.cool_lr == 1 and (self.cool_kl == 1 or kl_coef == 0):
            raise ValueError(
                f"{KEY}: a guard's action is cool, and with cool_lr=1, cool_kl={self.cool_kl} and"
                f" kl.coef={kl_coef} that changes nothing; lower cool_lr"
            )


class GuardState:
    """Counts how long each guard's number has been past its limit, and what came of it.

    Attributes:
        lr_factor: what the learning rate is multiplied by from now on.
        num_cooled: how often the run was cooled.
    """

    def __init__(self, guards: Guards) -> None:
        self.guards = guards
        self.counts = dict.fromkeys(GUARD_SPECS, 0)
        self.lr_factor, self.num_cooled = 1.0, 0

    def look(self, metrics: Mapping[str, float]) -> tuple[float, str | None]:
        """Count one iteration.

        Args:
            metrics: the iteration's numbers, of all ranks together: so they decide alike.

        Returns:
            What to multiply the KL coefficient by, and why to stop, if a guard says so.
        """
        named = {k if "/" in k else f"grpo/{k}": v for k, v in metrics.items()}
        told = {STOP: [], COOL: []}
        for name, guard in self.guards.active():
            metric, value = worst(GUARD_SPECS[name], named)
            if math.isnan(value):
                continue  # says nothing; max_skipped_frac sees to what is not finite
            limit = guard["limit"]
            assert limit is not None  # of active guards
            is_past = GUARD_SPECS[name].side * (value - limit) > 0
            self.counts[name] = self.counts[name] + 1 if is_past else 0
            if self.counts[name] == guard["patience"]:
                self.counts[name] = 0
                told[guard["action"]].append(reason(name, metric, value, guard))
        if told[STOP]:
            return 1.0, told[STOP][0]
        if not told[COOL]:
            return 1.0, None
        self.lr_factor *= self.guards.cool_lr
        self.num_cooled += 1
        log.warning("cooled: %s; learning rate × %g from now on", told[COOL][0], self.lr_factor)
        return self.guards.cool_kl, None

    def numbers(self) -> dict[str, float]:
        """What to log, if a guard may cool the run: how often it did, and the factor in use."""
        if not self.guards.may_cool:
            return {}
        return {"cooled": float(self.num_cooled), "lr_factor": self.lr_factor}

    def state(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {
            "counts": self.counts,
            "lr_factor": self.lr_factor,
            "num_cooled": self.num_cooled,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.counts = dict(state["counts"])
        self.lr_factor, self.num_cooled = state["lr_factor"], state["num_cooled"]


def worst(watched: GuardSpec, metrics: Mapping[str, float]) -> tuple[str, float]:
    """The watched number that is farthest to the wrong side, and its key; NaN without one.

    A component that never fails has no share of failures, so an absent one is 0.
    """
    if not watched.metric.endswith("/"):
        return watched.metric, metrics.get(watched.metric, math.nan)
    found = {k: v for k, v in metrics.items() if k.startswith(watched.metric)}
    key = max(found, key=lambda k: found[k], default=watched.metric)
    return key, found.get(key, 0.0)


def reason(name: str, metric: str, value: float, guard: Limit) -> str:
    """Which number passed which limit, and what may help."""
    watched = GUARD_SPECS[name]
    component = metric.removeprefix(watched.metric)
    what = f"{watched.name} ({component})" if component else watched.name
    beyond = "above" if watched.side > 0 else "below"
    times = guard["patience"]
    row = f" for {times} iterations in a row" if times > 1 else ""
    return (
        f"{what} was {value:.3g}{watched.unit}, {beyond} {KEY}.{name}.limit={guard['limit']:g}"
        f"{row}; what may help: {watched.mend}; {KEY}.{name}.limit=null lets it pass"
    )
