"""What decides a result, by content: kept results are found by what files hold, not by names."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from repic.types import Example, Examples, picture_content

Messages = Callable[[Example], Sequence[Mapping[str, Any]]]


def prompt_content(example: Example, messages: Messages) -> list[object]:
    """Return what a model is shown: every word, and what every picture holds."""
    shown: list[object] = [example.id]
    for message in messages(example):
        content = message["content"]
        if isinstance(content, str):
            shown.append(content)
            continue
        for item in content or ():
            is_picture = item["type"] == "image"
            shown.append(picture_content(item["image"]) if is_picture else item)
    return shown


def example_content(example: Example, messages: Messages) -> list[object]:
    """Return what a model is shown, and all that is known to be right or wrong of it."""
    shown = prompt_content(example, messages)
    said = [example.target, *example.answers, example.rejected]
    return [*shown, example.task, said, example.present, example.num_concepts, repr(example.scene)]


def dataset_content(examples: Examples, messages: Messages) -> str | None:
    """Hash what is trained on, and rewarded; None where the settings of the dataset say it all.

    Args:
        examples: a dataset; ``follows_from_settings`` is true of one that reads no file.
        messages: words the prompts.
    """
    if getattr(examples, "follows_from_settings", False):
        return None
    digest = hashlib.sha256()
    for example in (examples[i] for i in range(len(examples))):
        digest.update(repr(example_content(example, messages)).encode())
    return digest.hexdigest()
