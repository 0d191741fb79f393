"""Your own reward: a plain function of captions, named by its dotted path.

    # my_rewards.py, in the folder that the command is started in
    def politeness(completions, examples):
        return [float("please" in text) for text in completions]

    # on the command line, with its weight (else 1); or a list, or {my_rewards.politeness: 0.5}
    reward.own=my_rewards.politeness:0.5

    # or in full, for a function with several components, or for other tasks than captions
    reward.rubric.rewards.mine:
      _target_: repic.rewards.function.FunctionReward
      function: my_rewards.politeness
      components: [politeness]
      tasks: [caption]
      columns: []

A call may take ``reward.seconds``.

The function gets all captions at once, each with its example, and as keywords the columns it asks
for: lists that hold an attribute of each caption's example, as TRL's reward functions get theirs.
For ``reward.own`` these are its parameters beyond the first two.
It returns a number for each caption, or such a list for each component by name. None and NaN mean
that a component does not apply; that should follow from the example, not from the caption, or
captions escape from being judged.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any

import torch
from annotated_types import MinLen

from repic.rewards.dotted_path import import_function
from repic.rewards.rubric import LARGEST, RewardBatch, Rubric
from repic.signals import Stopped
from repic.time_limit import OutOfTime
from repic.types import Example, Rollout
from repic.values import Seconds, Tasks, Text

PLACE = "reward function"
OWN = "reward.own"
COLUMNS = (*(field.name for field in fields(Example)), "pool", "images")


class FunctionReward:
    """The components that a function yields, NaN for tasks that it is not asked about.

    Attributes:
        is_own: it runs code that is not this package's.

    Args:
        function: dotted path of a function in a module that can be imported, or the function.
        components: their names; a function that returns a list has one.
        tasks: whose captions the function gets; elsewhere the components are NaN.
        columns: attributes of ``Example`` that the function gets as keywords.
    """

    is_own = True

    def __init__(
        self,
        function: Text | Callable[..., Any],
        *,
        components: Annotated[Sequence[Text], MinLen(1)],
        tasks: Tasks,
        columns: Sequence[Text],
    ) -> None:
        is_path = isinstance(function, str)
        self.function = import_function(function, PLACE) if is_path else function
        self.place = f"{PLACE} {function if is_path else getattr(function, '__name__', function)}"
        if not components:
            raise ValueError(f"{self.place} needs a name or more in `components`")
        for column in columns:
            if column not in COLUMNS:
                raise ValueError(
                    f"{self.place} asks for the column {column!r}; an example has"
                    f" {', '.join(COLUMNS)}"
                )
        self.components, self.tasks = tuple(components), frozenset(tasks)
        self.columns = tuple(columns)

    def score(self, rollouts: Sequence[Rollout]) -> RewardBatch:
        values = torch.full((len(rollouts), len(self.components)), math.nan)
        asked = [i for i, rollout in enumerate(rollouts) if rollout.example.task in self.tasks]
        if asked:
            mine = [rollouts[i] for i in asked]
            lists = self._lists(self._call(mine), len(mine))
            values[asked] = torch.tensor(
                [
                    [self._number(name, lists[name][i], i, rollout) for name in self.components]
                    for i, rollout in enumerate(mine)
                ]
            )
        return RewardBatch(self.components, values)

    def _call(self, rollouts: Sequence[Rollout]) -> Any:
        try:
            return self._ask(rollouts)
        except (KeyboardInterrupt, Stopped, OutOfTime):
            raise
        except BaseException as error:  # whatever a stranger's code may raise, SystemExit too
            raise ValueError(
                f"{self.place} raised {type(error).__name__}: {error}, {self._culprit(rollouts)}"
            ) from error

    def _ask(self, rollouts: Sequence[Rollout]) -> Any:
        examples = [rollout.example for rollout in rollouts]
        columns = {name: [getattr(e, name) for e in examples] for name in self.columns}
        return self.function([rollout.text for rollout in rollouts], examples, **columns)

    def _culprit(self, rollouts: Sequence[Rollout]) -> str:
        """Find the first caption that makes the function fail by itself."""
        for i, rollout in enumerate(rollouts):
            try:
                self._ask([rollout])
            except (KeyboardInterrupt, Stopped):
                raise
            except OutOfTime:  # the complaint is known
                break
            except BaseException:  # see _call
                return f"at {_which(i, rollout)}"
        return f"for {len(rollouts)} captions at once, and for none of them by itself"

    def _lists(self, returned: Any, num_captions: int) -> dict[str, Sequence[Any]]:
        """Return what the function returned as a list for each component."""
        named = dict(returned) if isinstance(returned, Mapping) else {self.components[0]: returned}
        if set(named) != set(self.components):
            kind = "the components" if isinstance(returned, Mapping) else "one list for"
            raise ValueError(
                f"{self.place} returned {kind} {', '.join(map(str, named)) or '(none)'}; its"
                f" `components` are {', '.join(self.components)}"
            )
        lists = {name: _plain(values) for name, values in named.items()}
        for name, values in lists.items():
            if not isinstance(values, list | tuple):
                raise ValueError(
                    f"{self.place} returned {values!r} for {name}, not a list with a number for"
                    " each caption"
                )
            if len(values) != num_captions:
                raise ValueError(
                    f"{self.place} returned {len(values)} values of {name} for {num_captions}"
                    " captions"
                )
        return lists

    def _number(self, name: str, value: Any, i: int, rollout: Rollout) -> float:
        value = math.nan if value is None else _plain(value)
        # What float32 cannot hold would be infinite, and make every sibling's advantage NaN.
        is_number = isinstance(value, int | float) and (value != value or abs(value) <= LARGEST)
        if not is_number:
            raise ValueError(
                f"{self.place} returned {value!r} as {name} of {_which(i, rollout)}; it should be"
                " a finite number, or None where it does not apply"
            )
        return float(value)


def add_own(rubric: Rubric | None, own: object, *, seconds: Seconds | None = None) -> Rubric | None:
    """Add the functions of ``reward.own`` to a rubric, each a component of its function's name.

    Args:
        rubric: None where ``reward=none``.
        own: None, or dotted paths with their weights; see the module's docstring.
        seconds: that a call may take; None: any time.

    Raises:
        ValueError: a path leads nowhere, or what is said of it is not right.
    """
    if own is None:
        return rubric
    rewards = dict(rubric.rewards) if rubric else {}
    weights = dict(zip(rubric.names, rubric.weights.tolist(), strict=True)) if rubric else {}
    for path, weight in _own_weights(own):
        try:
            function = import_function(path, PLACE)
        except ValueError as error:
            raise ValueError(f"{OWN}: {error}") from error
        name = path.rpartition(".")[2]
        if path in rewards or name in weights:
            raise ValueError(f"{OWN}: the component {name!r} is there already; rename {path}")
        rewards[path] = FunctionReward(
            path, components=[name], tasks=["caption"], columns=_columns(function)
        )
        weights[name] = weight
    return Rubric(rewards, weights, rubric.conditions if rubric else None, seconds=seconds)


def _own_weights(own: object) -> Iterator[tuple[str, float]]:
    """Paths and weights, however they are written."""
    if isinstance(own, Mapping):
        pairs = list(own.items())
    else:
        entries = own if isinstance(own, list | tuple) else [own]
        pairs = []
        for entry in entries:
            path, colon, weight = str(entry).partition(":")
            pairs.append((path.strip(), weight.strip() if colon else 1.0))
    for path, weight in pairs:
        try:
            number = math.nan if isinstance(weight, bool) else float(weight)
        except (TypeError, ValueError):
            number = math.nan
        if not isinstance(path, str) or not math.isfinite(number):
            raise ValueError(
                f"{OWN}: {path}: the weight {weight!r} is no finite number; say"
                " my_rewards.politeness:0.5"
            )
        yield path, number


def _columns(function: Callable[..., Any]) -> list[str]:
    """The parameters beyond captions and examples that have no value of their own."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[2:]
    except ValueError:  # of some builtins nothing is known
        return []
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named and p.default is p.empty]


def _plain(values: Any) -> Any:
    """Python's own numbers and lists for those of NumPy and torch."""
    return values.tolist() if hasattr(values, "tolist") else values


def _which(i: int, rollout: Rollout) -> str:
    return f"caption {i} ({rollout.example.id}: {rollout.text!r})"
