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


def dataset_content(examples: Examples, messages: Messages) -> str | None:
    """Hash what is trained on; None where the settings of the dataset say it all.

    Args:
        examples: a dataset; ``follows_from_settings`` is true of one that reads no file.
        messages: words the prompts.
    """
    if getattr(examples, "follows_from_settings", False):
        return None
    digest = hashlib.sha256()
    for example in (examples[i] for i in range(len(examples))):
        row = [*prompt_content(example, messages), example.target]
        row += [example.rejected] if example.rejected else []
        digest.update(repr(row).encode())
    return digest.hexdigest()
