"""What a training step costs on paper: arithmetic on a model's configuration, no model needed."""

from repic.models.costs.peaks import peak_flops, utilization
from repic.models.costs.step import Flops, StepCosts, step_costs
from repic.models.costs.table import as_markdown, paper_table
from repic.models.costs.workload import NAIVE, PACKED, PLAIN, SCHEMES, Scheme, Training, Workload

__all__ = [
    "NAIVE",
    "PACKED",
    "PLAIN",
    "SCHEMES",
    "Flops",
    "Scheme",
    "StepCosts",
    "Training",
    "Workload",
    "as_markdown",
    "paper_table",
    "peak_flops",
    "step_costs",
    "utilization",
]
