r"""Turn an example into chat messages, in words that the configuration chooses.

A template is plain text with ``{fields}``. A part in ``[square brackets]`` vanishes as a whole
when a field in it is withheld, so ``"{index}. [{image} ][Info: {info} ]Name: {name}\n"`` gives
``"1. Name: <bo>\n"`` for a reference with neither picture nor info. There is no way to write a
literal square bracket or brace in a template; the values may hold both.
"""

import re
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from repic.types import Clip, Example, ImageSource
from repic.values import Text

Item = dict[str, Any]  # {"type": "text", "text": ...} or {"type": "image", "image": ImageSource}
Message = dict[str, Any]  # {"role": "system" or "user", "content": list of Item}
Value = str | ImageSource | None

# What stands for a picture where a prompt is written down as text.
IMAGE_MARK = "<image>"
FRAME = "{time} s:[{image}] "  # how a clip's frames are shown, unless somebody says otherwise
# What other projects write in a text where a picture or film belongs. To a model that has no such
# token it is words, to one that has it a picture too many.
PLACEHOLDER = re.compile(r"<(?:image|video)(?:[ _-]?\d+)?>", re.IGNORECASE)


class PromptTemplate:
    r"""The words around pictures, names and questions.

    Args:
        system: the system message; None leaves it out.
        reference: one concept, with ``{name}``, ``[{image}]``, ``[{info}]`` and, if wanted,
            ``{index}`` (counted from 1); repeated for every reference.
        query: the picture that is asked about, and the question, with ``[{image}]`` and
            ``{question}``; follows the references.
        frame: a picture of a clip, with ``[{image}]`` and ``{time}`` (in seconds); for each of
            them, in the place of the query's picture.
    """

    def __init__(
        self, *, system: str | None, reference: Text, query: Text, frame: Text = FRAME
    ) -> None:
        self.system = system
        self._frame = _Template("frame", frame, required=("time",), withheld=("image",))
        self._reference = _Template(
            "reference",
            reference,
            required=("name",),
            optional=("index",),
            withheld=("image", "info"),
        )
        self._query = _Template("query", query, required=("question",), withheld=("image",))

    def messages(self, example: Example) -> list[Message]:
        """Return the conversation up to where the answer begins.

        Pictures appear in the order of ``example.images``; neighbouring texts are one item.

        Raises:
            ValueError: a text has a mark in the place of a picture.
        """
        system = [] if self.system is None else [{"type": "text", "text": self.system}]
        user = _merge(self._items(example))
        for item in (*system, *user):
            if mark := PLACEHOLDER.search(item.get("text", "")):
                raise ValueError(
                    f"example {example.id}: {mark[0]} in the text of the prompt stands for no"
                    " picture; take it out of the data, or write [{image}] in data.prompt"
                )
        turns = (("system", system), ("user", user))
        return [{"role": role, "content": content} for role, content in turns if content]

    def text(self, example: Example) -> str:
        """Return the prompt for a person to read, with a mark in the place of every picture."""
        return "\n\n".join(
            "".join(item.get("text", IMAGE_MARK) for item in message["content"])
            for message in self.messages(example)
        )

    def _items(self, example: Example) -> Iterator[Item]:
        for index, shown in enumerate(example.references, start=1):
            yield from self._reference.fill(
                {
                    "index": str(index),
                    "name": shown.name,
                    "info": shown.info,
                    "image": shown.image,
                }
            )
        for item in self._query.fill({"image": example.query, "question": example.question}):
            shown = item.get("image")
            for frame in shown.frames if isinstance(shown, Clip) else ():
                time = f"{frame.second:g}"
                yield from self._frame.fill({"time": time, "image": frame.image})
            if not isinstance(shown, Clip):
                yield item


class _Template:
    """A parsed template: parts that appear or vanish together.

    Args:
        key: the template's name in the configuration, for messages.
        text: the template as written.
        required: fields that every example has and the template must show.
        optional: fields that every example has and the template may show.
        withheld: fields that an example may lack; the template must show each, in brackets.
    """

    def __init__(
        self,
        key: str,
        text: str,
        *,
        required: Sequence[str],
        optional: Sequence[str] = (),
        withheld: Sequence[str],
    ) -> None:
        self.place = f"data.prompt.{key}: {text!r}"
        self.known = (*required, *optional, *withheld)
        # Splitting at [...] leaves plain text at even places and bracketed parts at odd ones.
        split = re.split(r"\[([^][]*)\]", text)
        if any(bracket in "".join(split) for bracket in "[]"):
            raise ValueError(f"{self.place}: a square bracket has no partner, or they are nested")
        self.parts = [self._pieces(part) for part in split]
        plain = [field for part in self.parts[::2] for _, field in part]
        shown = [field for part in self.parts for _, field in part]
        for field in withheld:
            if field in plain:
                raise ValueError(
                    f"{self.place}: {{{field}}} may be withheld, so put it, with the words that"
                    " belong to it, into [square brackets]"
                )
        for field in (*required, *withheld):
            if shown.count(field) != 1:
                raise ValueError(
                    f"{self.place}: {{{field}}} must appear once, not {shown.count(field)} times"
                )

    def fill(self, values: Mapping[str, Value]) -> Iterator[Item]:
        """Yield the template's texts and pictures, without the parts that lack a value."""
        for part in self.parts:
            if any(field is not None and values[field] is None for _, field in part):
                continue
            for literal, field in part:
                yield {"type": "text", "text": literal}
                value = values[field] if field is not None else None
                if isinstance(value, str):
                    yield {"type": "text", "text": value}
                elif value is not None:
                    yield {"type": "image", "image": value}

    def _pieces(self, part: str) -> list[tuple[str, str | None]]:
        """Split into (literal, the field that follows it)."""
        try:
            parsed = list(string.Formatter().parse(part))
        except ValueError as error:  # a brace without a partner
            raise ValueError(f"{self.place}: {error}") from None
        for _, field, spec, conversion in parsed:
            if field is not None and (field not in self.known or spec or conversion):
                fields = ", ".join(f"{{{name}}}" for name in self.known)
                raise ValueError(f"{self.place}: {{{field}}} is not one of {fields}")
        return [(literal, field) for literal, field, _, _ in parsed]


def _merge(items: Iterable[Item]) -> list[Item]:
    """Join neighbouring texts, as chat templates may put separators between items."""
    merged: list[Item] = []
    for item in items:
        if item["type"] == "text" and merged and merged[-1]["type"] == "text":
            merged[-1] = {"type": "text", "text": merged[-1]["text"] + item["text"]}
        elif item.get("text") != "":
            merged.append(item)
    return merged
