"""The table at the end of a multirun, as a Hydra callback."""

import json
import logging
import os
from dataclasses import replace
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
        study = config.hydra.runtime.choices.get("study")
        if study:  # whose experiments have names of their own
            group = Path("studies") / study
        else:
            label = settings.slug(list(config.hydra.overrides.task), str(config.name))
            group = Path(str(config.name)) / "sweeps" / label
        self.folder = Path(config.outputs) / group
        # Jobs run in this process or in its children: a group in conf/logger/wandb.yaml.
        os.environ["REPIC_SWEEP"] = str(group).replace("/sweeps/", "/")
        self._jobs.unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if self.folder is None or job_return.status != JobStatus.COMPLETED:
            return
        if settings.phase_without_model(config.method.phases) is not None:
            return  # its table was printed, and there is no run to compare
        self.folder.mkdir(parents=True, exist_ok=True)
        # A file, because launchers may run jobs in processes with copies of this object.
        with self._jobs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(job_return.return_value) + "\n")
        self._write()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.folder is not None and self._jobs.exists():
            from repic.report.render import terminal

            tables = self._write()
            for table in tables:
                Console().print(terminal(table))
            if tables:
                print(f"written to {self.folder}/table.md, .csv and .tex")

    @property
    def _jobs(self) -> Path:
        assert self.folder is not None
        return self.folder / "runs.jsonl"

    def _write(self) -> list[Any]:
        """Write the tables of the runs so far; return those to be shown.

        Runs that cannot stand in one table get one for each test set, and runs that contradict
        each other none: the log says so, and the sweep goes on.
        """
        from repic.report.comparable import apart, told_apart
        from repic.report.forms import has_values, summary_tables
        from repic.report.render import write_tables
        from repic.report.runs import read_run

        assert self.folder is not None
        lines = self._jobs.read_text(encoding="utf-8").splitlines()
        runs = [run for line in lines if (run := read_run(Path(json.loads(line)))).metrics]
        groups = apart(runs)
        if len(groups) > 1:
            log.warning("the runs were evaluated on %d test sets: a table for each", len(groups))
        shown = []
        for number, group in enumerate(groups):
            suffix = f"_{number + 1}" if number else ""
            try:
                tables = summary_tables(group)
            except ValueError as error:
                log.warning("no table: %s", error)
                continue
            for name, table in tables.items():
                if has_values(table):
                    write_tables(self.folder, f"{name}{suffix}", table)
            main = tables["table"]
            if len(groups) > 1:
                main = replace(main, title=f"{main.title}: {told_apart(groups, number)}")
            shown += [table for table in (main, tables["names"]) if has_values(table)]
        return shown
