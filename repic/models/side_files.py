"""The files beside an exported model's weights: copied, made to say what was evaluated, readable.

What transformers 5 writes, 4.57 does not read: rotary parameters have moved, and a tokenizer
without a class of its own has another name and another list of special tokens. Servers' releases
stand on either. Exports hold both spellings.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repic.models import generation
from repic.models.directory import SIDE_FILES, read_json
from repic.models.engine.sampling import Sampling


def copy_side_files(source: Path, folder: Path, image_processor: Any) -> None:
    """Copy all but weights, with the image processor as it was used.

    Contents are copied and nothing else of a file: a source may be read-only.
    """
    for file in (source / name for name in SIDE_FILES):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)
    image_processor.save_pretrained(folder)
    together = folder / "processor_config.json"
    if together.is_file() and "image_processor" in (known := read_json(together)):
        known["image_processor"] |= read_json(folder / "preprocessor_config.json")
        write_json(together, known)


def write_generation_config(folder: Path, sampling: Sampling, stop_ids: Sequence[int]) -> None:
    """Say how the model was evaluated, keeping the special tokens that the file names."""
    file = folder / generation.FILE
    known = read_json(file) if file.is_file() else {}
    tokens = {key: value for key, value in known.items() if key.endswith("_token_id")}
    ends = {"eos_token_id": stop_ids[0] if len(stop_ids) == 1 else list(stop_ids)}
    write_json(file, {**tokens, **ends, **generation.decoding(sampling)})


def spell_for_transformers_4(folder: Path) -> None:
    """Add to the configurations what transformers 4.57 looks for under another name.

    Rotary parameters that differ by the kind of layer (Gemma 3's) have no such name.
    """
    config = read_json(folder / "config.json")
    text = config.get("text_config", config)
    rope = text.get("rope_parameters") or {}
    if "rope_type" in rope:  # one kind for all layers
        text["rope_theta"] = rope.get("rope_theta", text.get("rope_theta", 10000.0))
        scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
        if len(scaling) > 1:
            text["rope_scaling"] = scaling
    write_json(folder / "config.json", config)
    file = folder / "tokenizer_config.json"
    tokenizer = read_json(file) if file.is_file() else {}
    if tokenizer.get("tokenizer_class") == "TokenizersBackend":
        tokenizer["tokenizer_class"] = "PreTrainedTokenizerFast"
        special = tokenizer.pop("extra_special_tokens", None)
        if isinstance(special, list):
            tokenizer["additional_special_tokens"] = special
        elif special is not None:
            tokenizer["extra_special_tokens"] = special
        write_json(file, tokenizer)


def set_dtype(folder: Path, dtype: str) -> None:
    """Write the weights' precision into ``config.json``, also of its parts."""
    config = read_json(folder / "config.json")
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if "dtype" in part:
            part["dtype"] = dtype
    write_json(folder / "config.json", config)


def write_json(path: Path, content: object) -> None:
    """Write a configuration as the library lays it out."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def share(folder: Path) -> None:
    """Give every file the permissions of a new one: weights are written for their owner alone."""
    mode = (folder / "config.json").stat().st_mode & 0o666
    for file in folder.iterdir():
        file.chmod(mode)
