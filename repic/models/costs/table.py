"""Costs of the papers' settings, as rows to print."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig

from repic.models.costs.step import StepCosts, step_costs
from repic.models.costs.workload import SCHEMES, Training, Workload

Row = dict[str, str | float]


def paper_table(
    models: Mapping[str, Mapping[str, Any]], settings: Sequence[Mapping[str, Any]]
) -> list[Row]:
    """Compute every setting under every scheme; see conf/bench/paper.yaml.

    Args:
        models: by name, the dimensions as in a config.json.
        settings: each a ``name``, a ``model``, a ``workload`` and a ``training``.

    Returns:
        A row for each setting and scheme: tokens in thousands, FLOPs in 10¹², memory in GiB.
    """
    rows = []
    for setting in settings:
        config = make_config(models[setting["model"]])
        work = dict(setting["workload"])
        images = tuple(tuple(image) for image in work.pop("images"))
        workload = Workload(images=images, **work)
        training = Training(**setting["training"])
        for scheme in SCHEMES:
            costs = step_costs(config, workload, training, scheme)
            rows.append({"setting": setting["name"], "scheme": scheme.name, **_numbers(costs)})
    return rows


def make_config(dimensions: Mapping[str, Any]) -> Any:
    """Build the library's configuration from dimensions as in a config.json."""
    values = {**dimensions}
    # The library writes into what it is given.
    parts = {key: {**values.pop(key)} for key in ("text_config", "vision_config")}
    return AutoConfig.for_model(values.pop("model_type"), **values, **parts)


def as_markdown(rows: Sequence[Row]) -> str:
    """Lay rows out as a Markdown table, with three significant digits.

    Example:
        >>> print(as_markdown([{"scheme": "plain", "tokens": 1234.5, "memory": 0.0123}]))
        | scheme | tokens | memory |
        |---|--:|--:|
        | plain | 1,234 | 0.0123 |
    """
    first = rows[0]
    marks = ("---" if isinstance(value, str) else "--:" for value in first.values())
    lines = ["| " + " | ".join(first) + " |", "|" + "|".join(marks) + "|"]
    for row in rows:
        cells = (value if isinstance(value, str) else _digits(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _numbers(costs: StepCosts) -> dict[str, float]:
    flops, memory = costs.flops, costs.memory
    tera = {
        "vision": flops.vision,
        "prefill": flops.prefill,
        "decode": flops.decode,
        "reference": flops.reference,
        "update": flops.update,
        "model TFLOP": flops.model,
        "recomputed": flops.recomputed,
    }
    gibi = {
        "weights": memory.weights + memory.reference,
        "gradients, Adam": memory.gradients + memory.optimizer,
        "KV cache": memory.cache,
        "activations": memory.activations,
        "unchecked": memory.all_activations,
        "logits": memory.logits,
        "all logits": memory.all_logits,
        "peak GiB": memory.peak,
    }
    return {
        "k tokens": costs.tokens / 1e3,
        **{name: value / 1e12 for name, value in tera.items()},
        **{name: value / 2**30 for name, value in gibi.items()},
    }
