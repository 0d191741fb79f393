"""What is made of the measurements: medians, spreads, and the limit set by the number of tokens."""

import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of one contender, as it stands in ``steps.csv``.

    Attributes:
        started: when the bench began; one file holds several.
        overrides: what the command changed.
        value: of the swept key; empty without a sweep.
        round: 0 warms up and does not count.
        prompt_tokens: mean length of the first step's prompts.
        cpu_s, wall_s: of the whole step.
        rollout_cpu_s, rollout_wall_s: until the rewards are asked for.
        update_cpu_s, update_wall_s: what follows. With a KL term our reference pass is in here;
            TRL's comes before the rewards.
        peak_mib: the process's highest resident memory so far, or the GPU's allocated one.
        load: the machine's load average; above the number of threads, others were computing.
    """

    started: str
    overrides: str
    value: str
    contender: str
    round: int
    prompt_tokens: float
    cpu_s: float
    wall_s: float
    rollout_cpu_s: float
    rollout_wall_s: float
    update_cpu_s: float
    update_wall_s: float
    peak_mib: float
    load: float


def append_step(path: Path, step: Step) -> None:
    """Add a row, under a header where the file is new."""
    is_new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Step)])
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(step))


@dataclass(frozen=True)
class Summary:
    """A median, and the range that it is the middle of; NaN where nothing was measured."""

    median: float
    low: float
    high: float


def summarize(values: Sequence[float]) -> Summary:
    """Median, least and greatest of some measurements.

    Example:
        >>> summarize([3.0, 1.0, 2.0, 10.0])
        Summary(median=2.5, low=1.0, high=10.0)
    """
    if not values:
        return Summary(math.nan, math.nan, math.nan)
    return Summary(statistics.median(values), min(values), max(values))


def summary_of(steps: Sequence[Step], contender: str, quantity: str) -> Summary:
    """One quantity of a contender's steps, without the warm-up."""
    chosen = [step for step in steps if step.contender == contender and step.round > 0]
    return summarize([getattr(step, quantity) for step in chosen])


def median_ratio(steps: Sequence[Step], one: str, other: str, quantity: str) -> float:
    """How many times as much ``one`` takes as ``other``: the ratio of their medians."""
    own, others = (summary_of(steps, name, quantity).median for name in (one, other))
    return own / others


def token_limit(prompt_tokens: float, caption_tokens: int, group_size: int) -> float:
    """How much faster an update can get, at most, by computing each prompt once.

    In rows of their own, a prompt's G captions take G(P + T) tokens; with the prompt shared they
    take P + GT. Attention, which grows faster than the number of tokens, is not counted.

    Args:
        prompt_tokens: P, pictures included.
        caption_tokens: T.
        group_size: G.

    Example:
        >>> token_limit(prompt_tokens=100.0, caption_tokens=25, group_size=4)  # 4 · 125 / 200
        2.5
    """
    in_rows = group_size * (prompt_tokens + caption_tokens)
    return in_rows / (prompt_tokens + group_size * caption_tokens)
