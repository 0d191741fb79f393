"""From examples to the tensors that a vision-language model takes.

Several of the library's processors cannot be built without torchvision (they insist on a video
processor), so their parts are put together here: tokenizer, image processor and chat template of
the model's directory. The result is that of the library's processors, token for token. A family
without an entry (``repic.models.families``) needs the library's processor as it is.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import AutoConfig, AutoProcessor, AutoTokenizer

from repic.errors import first_line
from repic.models.chat_template import ChatTemplate
from repic.models.families import EncodedImage, family_of
from repic.models.images import ImageEncoder, OnlyImage
from repic.models.positions import Segment, mrope_positions, plain_positions
from repic.types import Example, ImageSource

_KEPT_PROMPTS = 512  # more than a step has


@runtime_checkable
class Prompt(Protocol):
    """Words an example as chat messages; items are texts, and images as ``ImageSource``."""

    def messages(self, example: Example) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class PromptBatch:
    """Prompts, padded on the left so that all end at the same place.

    Args:
        texts: the prompts as written, with one placeholder a picture.
        attention_mask: False on padding.
        position_ids: three axes for M-RoPE, one for plain positions; 0 on padding.
        image_mask: True where a picture's feature stands.
        images: the distinct pictures, in order of their first appearance.
        image_index: for every picture shown, row after row, which of the distinct ones it is.
    """

    texts: tuple[str, ...]
    input_ids: Int[Tensor, "B P"]
    attention_mask: Bool[Tensor, "B P"]
    position_ids: Int[Tensor, "axes B P"]
    image_mask: Bool[Tensor, "B P"]
    images: tuple[EncodedImage, ...]
    image_index: Int[Tensor, " shown"]

    @property
    def next_position(self) -> Int[Tensor, " B"]:
        """Where an answer's first token goes; the same on every axis."""
        return self.position_ids.amax(dim=(0, 2)) + 1

    def to(self, device: torch.device | str) -> "PromptBatch":
        """Return the batch on a device, but for what is about pictures."""
        names = {field.name for field in fields(self)} - {"image_index"}  # asked by Python
        values = {name: getattr(self, name) for name in names}
        moved = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt, before padding.

    Args:
        text: the prompt as written, with one placeholder a picture.
        position_ids: three axes for M-RoPE, one for plain positions.
        images: the pictures as they are shown.
        inputs: what the library's processor makes of the prompt, for a family without an entry.
    """

    text: str
    input_ids: Int[Tensor, " P"]
    position_ids: Int[Tensor, "axes P"]
    images: tuple[ImageSource, ...]
    inputs: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def next_position(self) -> int:
        """Where an answer's first token goes; the same on every axis."""
        return int(self.position_ids.max()) + 1


class PromptEncoder:
    """Tokenizer, chat template and image processor of a model's directory.

    Args:
        directory: a model in Hugging Face's layout.
        prompt: words the examples.
        min_pixels: see ``ImageEncoder``.
        max_pixels: see ``ImageEncoder``.
    """

    def __init__(
        self, directory: str, *, prompt: Prompt, min_pixels: int | None, max_pixels: int | None
    ) -> None:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        text_config = config.get_text_config()
        self.prompt, self._directory = prompt, directory
        self.tokenizer: Any = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        self.tokenizer("Who?")  # where its numbers are none, that is said here
        self._template = ChatTemplate(Path(directory), self.tokenizer)
        if self.tokenizer.eos_token_id is None:
            raise ValueError(f"{directory}: the tokenizer has no eos_token; add it to its config")
        self.family = family_of(config)
        bounds = {"min_pixels": min_pixels, "max_pixels": max_pixels}
        self.images = ImageEncoder(directory, self.family, config, self.tokenizer, **bounds)
        # Tokens that the library takes for a picture's or a film's place wherever they stand.
        places = (getattr(config, f"{kind}_token_id", None) for kind in ("image", "video"))
        self.image_ids = {token for token in places if token is not None}
        self.image_token_id: int = getattr(config, "image_token_id", -1)
        self.max_length: int = text_config.max_position_embeddings
        self._placeholder = self._token(getattr(config, self.family.placeholder, 0))
        self._library = None if self.family.encode else _library_processor(directory)
        # A step asks for its prompts several times. With the example, so that its id stays taken.
        self._kept: OrderedDict[int, tuple[Example, EncodedPrompt]] = OrderedDict()

    @property
    def chat_template(self) -> str:
        """The model's own words for a conversation."""
        return self._template.text

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return self.tokenizer.eos_token_id

    def prompts(self, examples: Sequence[Example]) -> list[EncodedPrompt]:
        """Return the prompt of each example; those of one example are the same object."""
        for example in examples:
            if id(example) not in self._kept:
                row = self._row(f"example {example.id}", self.prompt.messages(example))
                self._kept[id(example)] = example, row
        rows = [self._kept[id(example)][1] for example in examples]
        while len(self._kept) > _KEPT_PROMPTS:
            self._kept.popitem(last=False)
        return rows

    def encode(self, examples: Sequence[Example]) -> PromptBatch:
        """Return the prompts of some examples as one batch; see ``pad``."""
        return self.pad(self.prompts(examples))

    def encode_messages(self, messages: list[dict[str, Any]]) -> EncodedPrompt:
        """Return the prompt of a conversation, up to where the answer begins."""
        return self._row("prompt", messages)

    def encode_answers(
        self, answers: Sequence[str], examples: Sequence[Example] = ()
    ) -> list[Int[Tensor, " _"]]:
        """Return the tokens of each answer, with the token that ends it.

        Args:
            examples: what they answer, to be named in an error.
        """
        encoded = self.tokenizer(list(answers), add_special_tokens=False)["input_ids"]
        for i, ids in enumerate(encoded):
            if self.image_token_id in ids:
                name = f"example {examples[i].id}: " if examples else ""
                token = self._token(self.image_token_id)
                raise ValueError(
                    f"{name}the answer {answers[i]!r} contains {token}, which stands for a picture;"
                    " remove it from the data"
                )
        return [torch.tensor([*ids, self.end_id]) for ids in encoded]

    def decode(self, completion_ids: Int[Tensor, " T"]) -> str:
        """Return an answer as text, without special tokens and space around it."""
        return self.tokenizer.decode(completion_ids.tolist(), skip_special_tokens=True).strip()

    def text(self, messages: list[dict[str, Any]]) -> str:
        """Return a conversation as the model reads it, up to where the answer begins."""
        bare = [{**message, "content": _without_images(message)} for message in messages]
        return self._template.render(bare)

    def library_inputs(self, prompt: EncodedPrompt) -> dict[str, Tensor]:
        """Return a prompt as the library's whole forward pass takes it, a batch of one."""
        ids = prompt.input_ids[None]
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self._library is not None:
            return {**prompt.inputs, **inputs}
        if self.family.token_types is not None:
            inputs[self.family.token_types] = (ids == self.image_token_id).long()
        if prompt.images:
            inputs |= self.family.lay_out(self.images.encode(prompt.images))
        return inputs

    def _row(self, name: str, messages: list[dict[str, Any]]) -> EncodedPrompt:
        """Tokenize one prompt, with what stands for each picture in the placeholder's place."""
        text = self.text(messages)
        shown = _images(messages)
        if self.family.looks_closer and len(shown) == 1:
            shown = [OnlyImage(shown[0])]
        # Templates that write the first token themselves must not get it twice.
        bos = self.tokenizer.bos_token
        special = {"add_special_tokens": bos is None or not text.startswith(bos)}
        inputs: dict[str, Tensor] = {}
        if self._library is not None:
            inputs = _library_inputs(self._library, text, shown, **special)
            ids: list[int] = inputs["input_ids"][0].tolist()
            positions = plain_positions(len(ids))
        else:
            images = self.images.encode(shown)
            ids = self.tokenizer(self._written(name, text, images), **special)["input_ids"]
            positions = self._positions(ids, images)
        if len(ids) >= self.max_length:
            raise ValueError(
                f"{name}: the prompt has {len(ids)} tokens and the model takes"
                f" {self.max_length}; lower model.max_pixels or show fewer pictures"
            )
        return EncodedPrompt(text, torch.tensor(ids), positions, tuple(shown), inputs)

    def _written(self, name: str, text: str, images: Sequence[EncodedImage]) -> str:
        """Put what stands for each picture in its placeholder's place."""
        token, placeholder = self._token(self.image_token_id), self._placeholder
        pieces = text.split(placeholder)
        if len(pieces) != len(images) + 1 or (token != placeholder and token in text):
            raise ValueError(
                f"{name}: the prompt has {len(pieces) - 1} image placeholders for {len(images)}"
                f" images; no text may contain {placeholder} or {token}, and the chat template of"
                f" {self._directory} has to write one for each"
            )
        after = zip(images, pieces[1:], strict=True)
        return pieces[0] + "".join(image.text + piece for image, piece in after)

    def _positions(self, ids: list[int], images: Sequence[EncodedImage]) -> Int[Tensor, "axes P"]:
        """Count places: along one line, or with pictures along three axes."""
        if not self.family.uses_mrope:
            return plain_positions(len(ids))
        segments: list[Segment] = []
        start = 0
        for image in images:
            first = ids.index(self.image_token_id, start)
            segments += [first - start, image.grid]
            start = first + image.num_tokens
        return mrope_positions([*segments, len(ids) - start])

    def _token(self, number: int) -> str:
        return self.tokenizer.convert_ids_to_tokens(number)

    def pad(self, rows: Sequence[EncodedPrompt]) -> PromptBatch:
        """Pad prompts on the left and lay their distinct pictures one after another."""
        sources = {source.key: source for row in rows for source in row.images}
        length = max(len(row.input_ids) for row in rows)
        pad = self.tokenizer.pad_token_id
        input_ids = torch.full((len(rows), length), pad if pad is not None else self.end_id)
        attention_mask = torch.zeros(len(rows), length, dtype=torch.bool)
        position_ids = torch.zeros(len(rows[0].position_ids), len(rows), length, dtype=torch.long)
        for i, row in enumerate(rows):
            start = length - len(row.input_ids)
            input_ids[i, start:] = row.input_ids
            attention_mask[i, start:] = True
            position_ids[:, i, start:] = row.position_ids
        order = {key: i for i, key in enumerate(sources)}
        return PromptBatch(
            texts=tuple(row.text for row in rows),
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            image_mask=attention_mask & (input_ids == self.image_token_id),
            images=tuple(self.images.encode(list(sources.values()))),
            image_index=torch.tensor(
                [order[source.key] for row in rows for source in row.images], dtype=torch.long
            ),
        )


def _library_processor(directory: str) -> Any:
    """Load the library's own processor, for a family without an entry."""
    try:
        return AutoProcessor.from_pretrained(directory, trust_remote_code=False)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{directory}: its family has no entry in repic/models/families.py, and the library's"
            f" processor of it cannot be made here: {first_line(error)}"
        ) from None


def _library_inputs(
    processor: Any, text: str, images: Sequence[ImageSource], *, add_special_tokens: bool
) -> dict[str, Tensor]:
    """Return what a processor of the library makes of one prompt."""
    made = processor(
        text=[text],
        images=[image.load() for image in images] or None,
        add_special_tokens=add_special_tokens,
        return_tensors="pt",
    )
    return {name: torch.as_tensor(value) for name, value in made.items()}


def _images(messages: list[dict[str, Any]]) -> list[ImageSource]:
    """List the pictures of a conversation as they appear."""
    contents = [message["content"] for message in messages if message["content"]]
    items = [item for content in contents if not isinstance(content, str) for item in content]
    return [item["image"] for item in items if item["type"] == "image"]


def _without_images(message: dict[str, Any]) -> Any:
    """Leave marks where the pictures are: a template needs no more."""
    if isinstance(message["content"], str):
        return message["content"]
    return [{"type": "image"} if item["type"] == "image" else item for item in message["content"]]
