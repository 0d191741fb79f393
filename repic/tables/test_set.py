"""Which scenes a run was evaluated on, and which runs may stand in one table.

A test set is told by its content, in two fingerprints:

- ``scenes``: what was captioned. Ids, numbers of concepts, the pictures' own names, who is
  present, and the reference captions.
- ``prompts``: who was introduced, how. The pool, the references' pictures and infos.

Runs may stand in one table if their scenes are the same and their words are counted alike
(``metrics.tokenizer``). Prompts may differ only by a setting that says so (``is_of_prompt``: how
references are found, and whether they are exchanged): it is then in the labels of the rows, and
the best value is sought within each setting. So RePIC's table 1 has skip-retrieval and retrieval
below each other; a test set with other toys, or with more of them absent, is refused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repic.settings import is_of_prompt, settings_of
from repic.tables.runs import Run
from repic.types import Prediction
from repic.words import counted

TOKENIZER = "metrics.tokenizer"
_MARKS = "fingerprints"


def describe_test_set(
    predictions: Sequence[Prediction], settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """What ``summary.json`` says of the test set; None if nothing was captioned.

    Args:
        predictions: of one phase or of several, which captioned the same.
        settings: values by key of the configuration.
    """
    if not predictions:
        return None
    first = [p for p in predictions if p.phase == predictions[0].phase]
    scenes, prompts = fingerprints(first)
    return {"scenes": scenes, "prompts": prompts, "settings": dict(settings)}


def fingerprints(predictions: Sequence[Prediction]) -> tuple[str, str]:
    """Fingerprints of the scenes and of the prompts, whatever the order.

    Of a picture the last parts of its key count: the same photos may lie in another folder.
    """
    ordered = sorted(predictions, key=lambda p: (p.num_concepts, p.id))
    scenes = [
        [p.num_concepts, p.id, _tail(p.images[-1:], 1), sorted(p.present), p.answers]
        for p in ordered
    ]
    prompts = [[p.num_concepts, p.id, p.pool, _tail(p.images[:-1], 2), p.infos] for p in ordered]
    return _hash(scenes), _hash(prompts)


def tokenizer_of(run: Run) -> str:
    """The tokenizer of a run's CIDEr."""
    return "" if run.test_set is None else str(run.test_set.settings.get(TOKENIZER))


def apart(runs: Sequence[Run]) -> list[list[Run]]:
    """Sort runs into sets that may stand in one table each, in the order of their first runs."""
    by_scenes: dict[Any, list[Run]] = {}
    for run in runs:
        by_scenes.setdefault(_scenes(run), []).append(run)
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        scenes = _scenes(run)
        has_clash = _first_clash(by_scenes[scenes]) is not None
        groups.setdefault((scenes, _prompts(run) if has_clash else ""), []).append(run)
    return list(groups.values())


def refuse_other_test_sets(runs: Sequence[Run]) -> None:
    """Raise if runs may not stand in one table; the message names two of them and the mend."""
    mend = (
        "compare them apart (python -m repic.table --apart: a table each), or leave one of them out"
    )
    for run in runs[1:]:
        if _scenes(run) != _scenes(runs[0]):
            raise ValueError(
                f"{runs[0].folder} and {run.folder} were not evaluated on the same:"
                f" {difference(runs[0], run)}; {mend}"
            )
    if clash := _first_clash(runs):
        raise ValueError(
            f"{clash[0].folder} and {clash[1].folder} have the same scenes, but their prompts"
            " introduce others, and no setting of the prompts (retrieval,"
            f" phase.evaluate.demonstrations) says so: {difference(*clash)}; {mend}"
        )


def told_apart(groups: Sequence[Sequence[Run]], index: int) -> str:
    """What one of several test sets has of its own, and how many runs were evaluated on it."""
    found = [_readable(group[0]) for group in groups]
    keys = dict.fromkeys(key for values in found for key in values)
    own = [k for k in keys if len({str(values.get(k)) for values in found}) > 1]
    own = [k for k in own if k != _MARKS] or own
    parts = [f"{key}={_shown(found[index].get(key))}" for key in own]
    return f"{', '.join(parts)} ({counted(len(groups[index]), 'run')})"


def difference(one: Run, other: Run) -> str:
    """Say in which setting the test sets of two runs differ, with both values.

    Settings that change only whom prompts introduce are named last: they may differ in a table.
    Where no setting tells, the fingerprints do.
    """
    values = [_readable(run) for run in (one, other)]
    for key in sorted({**values[0], **values[1]}, key=is_of_prompt):
        a, b = (found.get(key) for found in values)
        if a != b and key != _MARKS:
            return f"{key} is {_shown(a)} in the first and {_shown(b)} in the second"
    a, b = (found.get(_MARKS) for found in values)
    return f"the examples themselves differ (fingerprints {a} and {b})"


def _readable(run: Run) -> dict[str, Any]:
    parts = ("data", "retrieval", "metrics", "phase.evaluate")
    found: dict[str, Any] = {
        key: value
        for key, value in settings_of(run).items()
        if key in parts or key.startswith(tuple(f"{part}." for part in parts))
    }
    if run.test_set is not None:
        found |= run.test_set.settings
        found[_MARKS] = f"{run.test_set.scenes[:8]}/{run.test_set.prompts[:8]}"
    return found


def _scenes(run: Run) -> tuple[str, str]:
    return "" if run.test_set is None else run.test_set.scenes, tokenizer_of(run)


def _prompts(run: Run) -> str:
    return "" if run.test_set is None else run.test_set.prompts


def _first_clash(runs: Sequence[Run]) -> tuple[Run, Run] | None:
    """Two runs that have other prompts though they agree in all settings of prompts."""
    first: dict[tuple[tuple[str, str], ...], Run] = {}
    for run in runs:
        settings = sorted(pair for pair in settings_of(run).items() if is_of_prompt(pair[0]))
        other = first.setdefault(tuple(settings), run)
        if _prompts(other) != _prompts(run):
            return other, run
    return None


def _tail(keys: Sequence[str], number: int) -> list[str]:
    return ["/".join(Path(key).parts[-number:]) for key in keys]


def _hash(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
