"""The table at the end of a multirun, as a Hydra callback."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from repic.phases import settings

log = logging.getLogger(__name__)


class AblationTable(Callback):
    """Collect a sweep's runs; print their table and write it as Markdown, CSV and LaTeX.

    The files are written after every job, so that a sweep which is interrupted, or whose last
    job fails, has a table of what it got to.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        label = settings.slug(list(config.hydra.overrides.task), str(config.name))
        self.folder = Path(config.outputs) / str(config.name) / "sweeps" / label
        # Jobs run in this process or in its children: a group in conf/logger/wandb.yaml.
        os.environ["REPIC_SWEEP"] = f"{config.name}/{label}"
        self._jobs.unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if self.folder is None or job_return.status != JobStatus.COMPLETED:
            return
        if {"rescore", "compare"} & set(config.method.phases):
            return  # its table was printed, and there is no run to compare
        self.folder.mkdir(parents=True, exist_ok=True)
        # A file, because launchers may run jobs in processes with copies of this object.
        with self._jobs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(job_return.return_value) + "\n")
        self._write()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.folder is not None and self._jobs.exists():
            from repic.report.render import terminal

            Console().print(terminal(self._write()))
            print(f"written to {self.folder}/table.md, .csv and .tex")

    @property
    def _jobs(self) -> Path:
        assert self.folder is not None
        return self.folder / "runs.jsonl"

    def _write(self) -> Any:
        """Write the table of the runs so far, and return it."""
        from repic.report.caption_tables import caption_tables
        from repic.report.render import write_tables
        from repic.report.runs import read_run
        from repic.report.tables import ablation

        assert self.folder is not None
        lines = self._jobs.read_text(encoding="utf-8").splitlines()
        runs = [read_run(Path(json.loads(line))) for line in lines]
        table = ablation(runs)
        write_tables(self.folder, "table", table)
        for number, captions in enumerate(caption_tables(runs), start=1):
            write_tables(self.folder, f"captions_{number}", captions)
        return table
