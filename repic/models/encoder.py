"""From examples to the tensors that a vision-language model takes.

The library's own Qwen2.5-VL processor cannot be built without torchvision (it insists on a video
processor), so its parts are put together here: tokenizer, image processor and chat template of
the model's directory. The result is that of the library's processors, token for token.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer

from repic.models.images import ImageEncoder, lay_out
from repic.models.positions import Segment, mrope_positions, num_tokens, plain_positions
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
        pixel_values: the distinct pictures, in order of their first appearance.
        image_grid_thw: their grids in patches, for towers that take any size.
        image_index: for every picture shown, row after row, which of the distinct ones it is.
    """

    texts: tuple[str, ...]
    input_ids: Int[Tensor, "B P"]
    attention_mask: Bool[Tensor, "B P"]
    position_ids: Int[Tensor, "axes B P"]
    image_mask: Bool[Tensor, "B P"]
    pixel_values: Float[Tensor, "patches values"] | Float[Tensor, "images 3 y x"] | None
    image_grid_thw: Int[Tensor, "images 3"] | None
    image_index: Int[Tensor, " shown"]

    @property
    def next_position(self) -> Int[Tensor, " B"]:
        """Where an answer's first token goes; the same on every axis."""
        return self.position_ids.amax(dim=(0, 2)) + 1

    def to(self, device: torch.device | str) -> "PromptBatch":
        """Return the batch with all tensors on a device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt, before padding.

    Args:
        text: the prompt as written, with one placeholder a picture.
        position_ids: three axes for M-RoPE, one for plain positions.
        images: the pictures as they are shown.
    """

    text: str
    input_ids: Int[Tensor, " P"]
    position_ids: Int[Tensor, "axes P"]
    images: tuple[ImageSource, ...]

    @property
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
        config = AutoConfig.from_pretrained(directory)
        text_config = config.get_text_config()
        self.prompt = prompt
        self.tokenizer: Any = AutoTokenizer.from_pretrained(directory)
        self.chat_template = read_chat_template(Path(directory)) or self.tokenizer.chat_template
        if self.chat_template is None:
            raise ValueError(f"{directory} has no chat template: add chat_template.jinja")
        if self.tokenizer.eos_token_id is None:
            raise ValueError(f"{directory}: the tokenizer has no eos_token; add it to its config")
        self.images = ImageEncoder(directory, config, min_pixels=min_pixels, max_pixels=max_pixels)
        self.image_token_id: int = config.image_token_id
        self.max_length: int = text_config.max_position_embeddings
        # Towers that keep the class token ("full") give one feature more than there are patches.
        full = getattr(config, "vision_feature_select_strategy", "default") == "full"
        self._extra_tokens = int(full)
        rope = getattr(text_config, "rope_parameters", None) or {}
        self._positions = mrope_positions if "mrope_section" in rope else plain_positions
        # A step asks for its prompts several times. With the example, so that its id stays taken.
        self._kept: OrderedDict[int, tuple[Example, EncodedPrompt]] = OrderedDict()

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
                token = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
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
        return self.tokenizer.apply_chat_template(
            bare, chat_template=self.chat_template, tokenize=False, add_generation_prompt=True
        )

    def _row(self, name: str, messages: list[dict[str, Any]]) -> EncodedPrompt:
        """Tokenize one prompt and give each picture its tokens."""
        text = self.text(messages)
        shown = _images(messages)
        # Templates that write the first token themselves must not get it twice.
        bos = self.tokenizer.bos_token
        is_begun = bos is not None and text.startswith(bos)
        ids = self.tokenizer(text, add_special_tokens=not is_begun)["input_ids"]
        if ids.count(self.image_token_id) != len(shown):
            token = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
            raise ValueError(
                f"{name}: the prompt has {ids.count(self.image_token_id)} image"
                f" placeholders for {len(shown)} images; no text may contain {token}"
            )
        segments, spread = self._spread(ids, [image.size for image in self.images.encode(shown)])
        if len(spread) >= self.max_length:
            raise ValueError(
                f"{name}: the prompt has {len(spread)} tokens and the model takes"
                f" {self.max_length}; lower model.max_pixels or show fewer pictures"
            )
        positions = self._positions(segments)
        return EncodedPrompt(text, torch.tensor(spread), positions, tuple(shown))

    def _spread(
        self, ids: list[int], sizes: list[tuple[int, int]]
    ) -> tuple[list[Segment], list[int]]:
        """Repeat each placeholder as often as its picture has features."""
        segments: list[Segment] = []
        spread: list[int] = []
        start = 0
        for size in sizes:
            end = ids.index(self.image_token_id, start)
            picture: list[Segment] = [size, self._extra_tokens] if self._extra_tokens else [size]
            segments += [end - start, *picture]
            spread += ids[start:end]
            spread += [self.image_token_id] * sum(num_tokens(part) for part in picture)
            start = end + 1
        return [*segments, len(ids) - start], spread + ids[start:]

    def pad(self, rows: Sequence[EncodedPrompt]) -> PromptBatch:
        """Pad prompts on the left and lay their distinct pictures one after another."""
        sources = {source.key: source for row in rows for source in row.images}
        images = self.images.encode(list(sources.values()))
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
        pixels, grids = lay_out(images)
        return PromptBatch(
            texts=tuple(row.text for row in rows),
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            image_mask=attention_mask & (input_ids == self.image_token_id),
            pixel_values=pixels,
            image_grid_thw=grids,
            image_index=torch.tensor(
                [order[source.key] for row in rows for source in row.images], dtype=torch.long
            ),
        )


def read_chat_template(directory: Path) -> str | None:
    """Return the template that a processor would use: a file of its own comes first."""
    if (path := directory / "chat_template.jinja").is_file():
        return path.read_text(encoding="utf-8")
    if (path := directory / "chat_template.json").is_file():
        return json.loads(path.read_text(encoding="utf-8"))["chat_template"]
    return None


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
