"""What sets one family of vision-language models apart from another: an entry each.

The library's models have one outline: a vision tower and a projector make features of pictures,
which take the places of image tokens before the language model. An entry says what a family does
in its own way: how a picture becomes pixels and tokens, where else its features enter, how places
are counted, what its language model is called. Encoder, policy and engines ask the entry.

A family without an entry runs through the library's processor and its whole forward pass, a row for
every caption (``repic.models.engine.library``); so does one whose entry says that it cannot be
packed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor
from transformers.models.smolvlm.processing_smolvlm import get_image_prompt_string

from repic.models.vision import batch_vision_attention


@dataclass(frozen=True)
class EncodedImage:
    """One picture after the image processor.

    Args:
        inputs: what the library's model takes of it.
        text: what stands for it in a prompt, an image token for each feature.
        num_tokens: the number of its features.
        size: its features as (rows, columns), where they are a grid.
        is_alone: it is its prompt's only picture.
    """

    inputs: Mapping[str, Tensor]
    text: str
    num_tokens: int
    size: tuple[int, int] | None = None
    is_alone: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of features; ``ValueError`` where they are no grid."""
        if self.size is None:
            raise ValueError("features of this model's pictures are no grid of rows and columns")
        return self.size

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.inputs.values())


@dataclass(frozen=True)
class Parts:
    """What a picture is encoded with: parts of a model's directory."""

    processor: Any
    config: Any
    tokenizer: Any

    @property
    def image_token(self) -> str:
        """Stands in a prompt where a feature goes."""
        return self.tokenizer.convert_ids_to_tokens(self.config.image_token_id)

    def encoded(self, inputs: Mapping[str, Any], text: str, **others: Any) -> EncodedImage:
        """Return a picture as text and inputs say it is."""
        tensors = {name: torch.as_tensor(value) for name, value in inputs.items()}
        return EncodedImage(tensors, text, text.count(self.image_token), **others)


def concatenate(images: Sequence[EncodedImage]) -> dict[str, Tensor]:
    """Lay the inputs of pictures one after another."""
    return {name: torch.cat([i.inputs[name] for i in images]) for name in images[0].inputs}


@dataclass(frozen=True, kw_only=True)
class Family:
    """How a family differs.

    Args:
        encode: makes one picture's tensors and text; is told whether its prompt has no other.
        lay_out: makes of several pictures what ``get_image_features`` takes.
        placeholder: the configuration's key of the token that a chat template writes for a
            picture.
        token_types: the input that marks image tokens in the library's forward pass, if any.
        language: the language model's name inside the model. Whatever is neither in there nor the
            head is for seeing: vision tower, projector, separators.
        adapted: names of the language model's matrices that adapters are put on.
        uses_mrope: counts places by time, row and column; see ``repic.models.positions``.
        is_any_size: pictures keep their shape, between two bounds on their area.
        looks_closer: an only picture is encoded in another way than one of several.
        injected: features that enter behind the first layers as well: their name in the vision
            tower's output, and what the language model calls their places and them.
        quicken: makes the vision tower faster, with the same results.
        unpackable: why a prompt cannot be shared by its captions; None where it can.
    """

    encode: Callable[[Parts, Image.Image, bool], EncodedImage] | None
    lay_out: Callable[[Sequence[EncodedImage]], dict[str, Tensor]] = concatenate
    placeholder: str = "image_token_id"
    token_types: str | None = None
    language: str = "language_model"
    adapted: tuple[str, ...] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    uses_mrope: bool = False
    is_any_size: bool = False
    looks_closer: bool = False
    injected: tuple[str, str, str] | None = None
    quicken: Callable[[nn.Module], int] | None = None
    unpackable: str | None = None

    @property
    def adapter_targets(self) -> str:
        """A pattern of the names of adapted matrices; bare names would reach the tower too."""
        return rf".*{self.language}.*\.({'|'.join(self.adapted)})"

    def is_language(self, name: str) -> bool:
        """Whether a weight belongs to the language model or its head, rather than to seeing."""
        return f"{self.language}." in name or "lm_head." in name

    def features(self, output: Any, images: Sequence[EncodedImage]) -> tuple[Tensor, ...]:
        """Cut the tower's output into pictures: [tokens, H], with injected ones [tokens, n H]."""
        parts = [torch.cat(list(output.pooler_output))]
        if self.injected is not None:
            # The library's 5.17 gives a layer's features whole, 5.22 picture by picture.
            layers = output[self.injected[0]]
            parts += [x if isinstance(x, Tensor) else torch.cat(list(x)) for x in layers]
        return torch.cat(parts, dim=-1).split([image.num_tokens for image in images])


def _encode_qwen(parts: Parts, picture: Image.Image, alone: bool) -> EncodedImage:
    inputs = parts.processor(images=[picture], return_tensors="pt")
    merge = parts.processor.merge_size
    rows, columns = (side // merge for side in inputs["image_grid_thw"][0].tolist()[1:])
    return parts.encoded(inputs, parts.image_token * (rows * columns), size=(rows, columns))


def _encode_llava(parts: Parts, picture: Image.Image, alone: bool) -> EncodedImage:
    inputs = parts.processor(images=[picture], return_tensors="pt")
    patch = parts.config.vision_config.patch_size
    rows, columns = (side // patch for side in inputs["pixel_values"].shape[-2:])
    # Towers that keep the class token ("full") give one feature more than there are patches.
    extra = parts.config.vision_feature_select_strategy == "full"
    text = parts.image_token * (rows * columns + extra)
    return parts.encoded(inputs, text, size=(rows, columns))


def _encode_onevision(parts: Parts, picture: Image.Image, alone: bool) -> EncodedImage:
    """An only picture is shown as a whole and in tiles; one of several as a whole."""
    vision = parts.config.vision_config
    side = vision.image_size // vision.patch_size
    # Beside another picture the processor makes no tiles, as in a prompt with several.
    beside = [] if alone else [Image.new("RGB", (1, 1))]
    made = parts.processor(images=[[picture, *beside]], return_tensors="pt")
    inputs = {key: made[key][:1] for key in ("pixel_values", "image_sizes")}
    features = side * side + 1  # and the line's end
    if alone:
        library: Any = LlavaOnevisionProcessor
        counter = SimpleNamespace(
            image_processor=parts.processor,
            num_image_tokens=side * side,
            vision_aspect_ratio=parts.config.vision_aspect_ratio,
            _get_unpadded_features=lambda *sizes: library._get_unpadded_features(counter, *sizes),
        )
        features = library._get_number_of_features(
            counter, *made["image_sizes"][0].tolist(), *made["pixel_values"].shape[-2:]
        )
    return parts.encoded(inputs, parts.image_token * features, is_alone=alone)


def _lay_out_onevision(images: Sequence[EncodedImage]) -> dict[str, Tensor]:
    """Pad tiles to one number, and say which pictures have any."""
    laid = _pad_tiles(images)
    # The model wants the number of pictures of each prompt, and cuts into tiles where it is 1.
    alone = images[0].is_alone
    counts = [1] * len(images) if alone else [max(len(images), 2)]
    return {**laid, "batch_num_images": torch.tensor(counts)}


def _pad_tiles(images: Sequence[EncodedImage]) -> dict[str, Tensor]:
    """Lay pictures one after another, each [1, tiles, ...]; what is added is zero."""
    most = max(image.inputs["pixel_values"].shape[1] for image in images)

    def padded(x: Tensor) -> Tensor:
        return x if x.dim() < 4 else pad(x, (0, 0) * (x.dim() - 2) + (0, most - x.shape[1]))

    return {
        name: torch.cat([padded(image.inputs[name]) for image in images])
        for name in images[0].inputs
    }


def _encode_idefics(parts: Parts, picture: Image.Image, alone: bool) -> EncodedImage:
    """Rows of tiles, then the whole; or the whole only, as the processor is set."""
    vision = parts.config.vision_config
    made = parts.processor(images=[[picture]], return_row_col_info=True, return_tensors="pt")
    rows, columns = made.pop("rows")[0][0], made.pop("cols")[0][0]
    side = vision.image_size // vision.patch_size
    text = get_image_prompt_string(
        rows,
        columns,
        side**2 // parts.config.scale_factor**2,
        fake_token_around_image=_token(parts, "fake_image_token", "<fake_token_around_image>"),
        image_token=parts.image_token,
        global_image_token=_token(parts, "global_image_token", "<global-img>"),
    )
    return parts.encoded(made, text)


def _encode_internvl(parts: Parts, picture: Image.Image, alone: bool) -> EncodedImage:
    """Tiles, then the whole."""
    made = parts.processor(images=[picture], crop_to_patches=True, return_tensors="pt")
    vision = parts.config.vision_config
    height, width = vision.image_size
    patches = (height // vision.patch_size[0]) * (width // vision.patch_size[1])
    features = len(made["pixel_values"]) * int(patches * parts.config.downsample_ratio**2)
    start, end = (
        _token(parts, "start_image_token", "<img>"),
        _token(parts, "end_image_token", "</img>"),
    )
    return parts.encoded(
        {"pixel_values": made["pixel_values"]}, f"{start}{parts.image_token * features}{end}"
    )


def _encode_gemma(parts: Parts, picture: Image.Image, alone: bool) -> EncodedImage:
    """The whole, and crops of long pictures if the processor is set so."""
    made = parts.processor(images=[picture], return_tensors="pt")
    boi, eoi = (
        parts.tokenizer.convert_ids_to_tokens(i)
        for i in (parts.config.boi_token_index, parts.config.eoi_token_index)
    )
    one = f"\n\n{boi}{parts.image_token * parts.config.mm_tokens_per_image}{eoi}\n\n"
    crops = len(made["pixel_values"]) - 1
    text = one
    if crops:
        text = f"Here is the original image {one} and here are some crops to help you see better "
        text += " ".join([one] * crops)
    return parts.encoded({"pixel_values": made["pixel_values"]}, text)


def _token(parts: Parts, name: str, usual: str) -> str:
    """A token that tokenizers may name."""
    return getattr(parts.tokenizer, name, None) or usual


_QWEN2_5_VL = Family(
    encode=_encode_qwen,
    token_types="mm_token_type_ids",
    uses_mrope=True,
    is_any_size=True,
    quicken=batch_vision_attention,
)
_IDEFICS = Family(encode=_encode_idefics, lay_out=_pad_tiles, language="text_model")

# By the configuration's ``model_type``.
FAMILIES: dict[str, Family] = {
    "qwen2_5_vl": _QWEN2_5_VL,
    # DeepStack, https://arxiv.org/abs/2406.04334: features of the tower's lower layers are added
    # behind the language model's first layers.
    "qwen3_vl": Family(
        encode=_encode_qwen,
        token_types="mm_token_type_ids",
        uses_mrope=True,
        is_any_size=True,
        quicken=batch_vision_attention,
        injected=("deepstack_features", "visual_pos_masks", "deepstack_visual_embeds"),
    ),
    "llava": Family(encode=_encode_llava),
    "llava_onevision": Family(
        encode=_encode_onevision, lay_out=_lay_out_onevision, looks_closer=True
    ),
    "smolvlm": _IDEFICS,
    "idefics3": _IDEFICS,
    "internvl": Family(encode=_encode_internvl),
    "gemma3": Family(
        encode=_encode_gemma,
        placeholder="boi_token_index",
        token_types="token_type_ids",
        unpackable="a picture's tokens see each other in both directions",
    ),
}


def family_of(config: Any) -> Family:
    """Return a model's family; for one without an entry, what is known of all."""
    return FAMILIES.get(
        config.model_type,
        Family(encode=None, unpackable="it has no entry in repic/models/families.py"),
    )
