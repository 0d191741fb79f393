"""Who else can read a model's directory, told from its files alone.

What each wants is from its source; what was tried is in ``experiments/serving.md``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic.models.directory import ADAPTER_CONFIG, find_base, is_adapter, read_config
from repic.models.families import FAMILIES

_VLLM_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)  # of its CPU build
_VLLM_RANK = 512
_MERGE = "export with model.export=merged"


@dataclass(frozen=True)
class Reader:
    """A program, and what keeps it from reading a directory; nothing if it should.

    ``remarks`` are what it has to be told.
    """

    name: str
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.problems:
            return f"{self.name}: no: {'; '.join(self.problems)}"
        return f"{self.name}: {'; '.join(('yes', *self.remarks))}"


def readers(folder: Path) -> list[Reader]:
    """List who can read a model's directory, and what keeps others from it.

    Raises:
        ValueError: a file of it is broken, or the base of its adapters is gone.
    """
    base = find_base(folder) if is_adapter(folder) else folder
    config = read_config(base / "config.json")
    adapter = read_config(folder / ADAPTER_CONFIG) if is_adapter(folder) else None
    remarks = () if adapter is None else (f"with the adapters' base, {base}",)
    return [
        Reader("transformers 5", tuple(_unknown(config)), remarks),
        Reader("transformers 4.57", tuple(_for_transformers_4(base, config)), remarks),
        Reader("vLLM", tuple(_for_vllm(config, adapter)), (*remarks, *_heads(config))),
        Reader("SGLang (not tried)", tuple(_for_sglang(config, adapter)), remarks),
    ]


def _unknown(config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("model_type") not in FAMILIES:
        yield f"model_type {config.get('model_type')!r} is none that was looked into"


def _for_transformers_4(base: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Names that transformers 5 no longer writes; see ``side_files.spell_for_transformers_4``."""
    yield from _unknown(config)
    text = config.get("text_config", config)
    if text.get("rope_parameters") and "rope_theta" not in text:
        yield "config.json has rope_parameters and no rope_theta; export the model again"
    file = base / "tokenizer_config.json"
    if file.is_file() and read_config(file).get("tokenizer_class") == "TokenizersBackend":
        yield "tokenizer_config.json names TokenizersBackend; export the model again"


def _for_vllm(config: Mapping[str, Any], adapter: Mapping[str, Any] | None) -> Iterator[str]:
    yield from _unknown(config)
    if adapter is not None and adapter["r"] > _VLLM_RANK:
        yield f"adapters of rank {adapter['r']}, and it takes {_VLLM_RANK}; {_MERGE}"


def _for_sglang(config: Mapping[str, Any], adapter: Mapping[str, Any] | None) -> Iterator[str]:
    yield from _unknown(config)
    if adapter is not None and isinstance(adapter.get("target_modules"), str):
        yield f"its adapters name their matrices by a pattern, which it takes for a list; {_MERGE}"


def _heads(config: Mapping[str, Any]) -> Iterator[str]:
    text = config.get("text_config", config)
    size = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    if size not in _VLLM_HEADS:
        yield f"heads of {size} on a GPU alone"
