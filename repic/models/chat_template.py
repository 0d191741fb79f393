"""A model's chat template: a program of whoever has made the model, and so held in bounds.

The library renders it in a sandbox, from where it reaches neither files nor Python. How long it
runs and how much it writes is tried out once, in a process that can be ended whatever it does;
after that each time has a limit.
"""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from repic.files import as_shape, read_json, read_text
from repic.time_limit import time_limit

SECONDS, LONGEST = 10, 1 << 20  # for two lines of conversation; characters
_MEMORY = 2 << 30  # bytes, beside what the process has
_MEND = "mend its chat_template.jinja"
_ENDS: dict[tuple[object, ...], bool] = {}  # what was found of tokenizers and templates
_TALK: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "It is <bo>."}]},
    {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
]


class ChatTemplate:
    """Writes conversations as a model reads them.

    Args:
        directory: the model's.
        tokenizer: the model's.

    Raises:
        ValueError: there is no template, or it does not come to an end.
    """

    def __init__(self, directory: Path, tokenizer: Any) -> None:
        self._directory, self._tokenizer = directory, tokenizer
        self.text = read_chat_template(directory) or tokenizer.chat_template
        if self.text is None:
            raise ValueError(f"{directory} has no chat template: add chat_template.jinja")
        if not isinstance(self.text, str):
            raise ValueError(f"{directory}: has several chat templates, or none; {_MEND}")
        tried = (type(tokenizer), str(tokenizer.special_tokens_map), self.text)
        if tried not in _ENDS:  # a run loads several models with one template
            _ENDS[tried] = _ends(self.text, tokenizer)
        if not _ENDS[tried]:
            raise ValueError(
                f"{directory}: its chat template takes more than {SECONDS} seconds, or"
                f" {LONGEST} characters, for two lines; {_MEND}"
            )

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return a conversation as text, up to where the answer begins."""
        complaint = (
            f"{self._directory}: its chat template takes more than {SECONDS} seconds; {_MEND}"
        )
        try:
            with time_limit(SECONDS, complaint):
                return _render(self._tokenizer, self.text, messages)
        except (TemplateError, TypeError, RecursionError, OverflowError) as error:
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"{self._directory}: its chat template fails ({said})") from error


def _render(tokenizer: Any, template: str, messages: Sequence[Mapping[str, Any]]) -> str:
    return tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=True
    )


def read_chat_template(directory: Path) -> str | None:
    """Return the template that a processor would use: a file of its own comes first."""
    if (path := directory / "chat_template.jinja").is_file():
        return read_text(path)
    if (path := directory / "chat_template.json").is_file():
        return as_shape(dict[str, str], read_json(path), str(path)).get("chat_template")
    return None


def _ends(template: str, tokenizer: Any) -> bool:
    """Whether a template comes to an end, tried in a process that is ended where it does not."""
    if not hasattr(os, "fork"):
        return True
    import resource

    child = os.fork()
    if child == 0:
        is_fine = True
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            with open("/proc/self/statm") as file:
                size = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, resource.RLIM_INFINITY))
            text = _render(tokenizer, template, _TALK)
            is_fine = len(text) <= LONGEST
        except MemoryError:
            is_fine = False
        except BaseException:  # is told where it is rendered in earnest
            is_fine = True
        finally:
            os._exit(0 if is_fine else 1)
    _, status = os.waitpid(child, 0)
    return status == 0
