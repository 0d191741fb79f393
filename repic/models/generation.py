"""What ``generation_config.json`` asks of whoever decodes with a model, beside what we do.

An evaluation decodes as ``Sampling`` says, and follows nothing else in that file but the tokens
that end an answer: it says what it leaves out. An exported model's file says what was evaluated,
so that transformers' ``generate`` and servers that read it (vLLM, SGLang) decode like that.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repic.models.directory import find_model, read_config
from repic.models.engine.sampling import Sampling

FILE = "generation_config.json"
# They change no token, or only where an answer is cut.
_ASIDE = ("transformers_version", "use_cache", "cache_implementation", "max_length")
_ASIDE += ("max_new_tokens", "return_dict_in_generate")
_OF_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p")


def decoding(sampling: Sampling) -> dict[str, Any]:
    """Say in the file's words how captions are drawn.

    Greedy is to sample the one likeliest token: servers read no ``do_sample`` and draw at
    temperature 1, and the library refuses to save temperature 0.
    """
    if sampling.temperature == 0:
        return {"repetition_penalty": 1.0, "do_sample": True, "top_k": 1}
    names = ("temperature", "top_p", "top_k", "min_p")
    values = {name: getattr(sampling, name) for name in names}
    return {"repetition_penalty": 1.0, "do_sample": True, **values}


def left_out(path: str | Path, sampling: Sampling) -> dict[str, Any]:
    """What a model's directory asks for and an evaluation with ``sampling`` does not do."""
    file = find_model(path) / FILE
    asked = read_config(file)
    ours = decoding(sampling)
    return {
        key: value
        for key, value in asked.items()
        if value != ours.get(key)
        and not _is_neutral(value)
        and (asked.get("do_sample") or key not in _OF_SAMPLING)
        and not (key.startswith(("_", "output_")) or key.endswith("_token_id") or key in _ASIDE)
    }


def describe(sampling: Sampling, beside: Mapping[str, Any]) -> str:
    """Say in words how captions are drawn, and what is left out.

    Example:
        >>> greedy = Sampling(
        ...     temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, max_new_tokens=9, stop=()
        ... )
        >>> describe(greedy, {"repetition_penalty": 1.05})
        'greedy, at most 9 tokens; left out of its generation_config.json: repetition_penalty=1.05'
    """
    words = f"greedy, at most {sampling.max_new_tokens} tokens"
    if sampling.temperature > 0:
        values = f"temperature {sampling.temperature:g}, top_p {sampling.top_p:g}"
        values += f", top_k {sampling.top_k}, min_p {sampling.min_p:g}"
        words = f"sampled ({values}), at most {sampling.max_new_tokens} tokens"
    what = ", ".join(f"{key}={value}" for key, value in beside.items())
    return f"{words}; left out of its {FILE}: {what}" if what else words


def _is_neutral(value: object) -> bool:
    """Whether a value is the one that changes nothing, whatever the key: null, 0, empty or 1."""
    return value is not True and (not value or value == 1)
