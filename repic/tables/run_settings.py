"""Which settings tell runs apart: what their commands said, and what they would have said."""

from collections.abc import Sequence

from repic.tables.configuration import configured
from repic.tables.runs import Run

SEED = "seed"

# Settings that change who is introduced in the prompts of the same scenes, and what they are
# where nobody says so. Rows with other values of these are other blocks of a table.
OF_PROMPT = {"retrieval": "skip", "phase.evaluate.demonstrations": "right"}

# Where a run is written and how it is watched changes no result.
IMMATERIAL = ("hydra", "outputs", "name", "fresh", "logger", "debug", "traceback", SEED)


def varying_keys(runs: Sequence[Run]) -> tuple[str, ...]:
    """Configuration keys in which runs differ, the seed and the immaterial ones left out."""
    settings = settings_of_each(runs)
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return tuple(
        key for key in keys if is_material(key) and len({s.get(key) for s in settings}) > 1
    )


def is_material(key: str) -> bool:
    """Whether a setting may change results."""
    return key.split(".")[0] not in IMMATERIAL


def settings_of(run: Run) -> dict[str, str]:
    """Choices and overrides of a run by key; a choice says more than the override behind it."""
    return {**OF_PROMPT, **dict(map(split_override, run.overrides)), **run.choices}


def split_override(override: str) -> tuple[str, str]:
    """Key and value.

    Example:
        >>> split_override("+experiment=toys")
        ('experiment', 'toys')
    """
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def settings_of_each(runs: Sequence[Run]) -> list[dict[str, str]]:
    """``settings_of`` every run, of all keys that any run was told.

    What one command says, another may leave as it is: a value that a run was not told is read
    from its configuration, and those that it was told are written as there.
    """
    found = [settings_of(run) for run in runs]
    told = dict.fromkeys(key for settings in found for key in settings)
    unequal = [key for key in told if len({settings.get(key) for settings in found}) > 1]
    for run, settings in zip(runs, found, strict=True):
        settings |= configured(run.folder, [key for key in unequal if key not in run.choices])
    return found


def is_of_prompt(key: str) -> bool:
    """Whether a setting changes who is introduced in the prompts of the same scenes."""
    return key in OF_PROMPT or key.startswith("retrieval.")
