"""The table at the end of a multirun, as a Hydra callback."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from repic import settings
from repic.files import append_line, as_shape, read_rows
from repic.ranks import rank

log = logging.getLogger(__name__)


class AblationTable(Callback):
    """Collect a sweep's runs; print their table and write it as Markdown, CSV and LaTeX.

    The files are written after every job, by whoever did it, so that a sweep which is interrupted,
    or whose last job fails, or whose submitting process is gone, has a table of what it got to.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.form = ""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from repic.tables.layouts import refuse_unknown

        study = config.hydra.runtime.choices.get("study")
        if study:  # whose experiments have names of their own
            group = Path("studies") / study
        else:
            label = settings.slug(list(config.hydra.overrides.task), str(config.name))
            group = Path(str(config.name)) / "sweeps" / label
        self.folder = Path(config.outputs) / group
        self.form = config.table.form
        refuse_unknown(self.form, "table.form")
        # Jobs run in this process or in its children: a group in conf/logger/wandb.yaml.
        os.environ["REPIC_SWEEP"] = str(group).replace("/sweeps/", "/")
        if rank() == 0:
            self._jobs.unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if self.folder is None or job_return.status != JobStatus.COMPLETED or rank() > 0:
            return
        cfg = job_return.cfg
        if cfg is None or settings.phase_without_model(config.method.phases) is not None:
            return  # its table was printed, and there is no run to compare
        self.folder.mkdir(parents=True, exist_ok=True)
        # A file, because launchers may run jobs in processes with copies of this object. Whoever is
        # the last to hold the lock writes the table of all; a job that is queued again is one.
        with FileLock(self.folder / ".lock"):
            if cfg.folder not in self._done():
                append_line(self._jobs, cfg.folder, durable=True)
            self._write()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if self.folder is not None and self._jobs.exists() and rank() == 0:
            from repic.tables.write import print_tables

            tables = self._write()
            print_tables(*tables)
            if tables:
                print(f"written to {self.folder}, as .md, .csv and .tex")

    @property
    def _jobs(self) -> Path:
        assert self.folder is not None
        return self.folder / "runs.jsonl"

    def _done(self) -> list[str]:
        """The folders of the runs so far."""
        rows = read_rows(self._jobs, may_be_cut=True)
        return [as_shape(str, row, place) for place, row in rows]

    def _write(self) -> list[Any]:
        """Write the tables of the runs so far; return those of the form that was asked for.

        Runs that cannot stand in one table get one for each test set, and runs that contradict
        each other none: the log says so, and the sweep goes on.
        """
        from repic.tables.layouts import summary_tables
        from repic.tables.runs import read_run
        from repic.tables.test_set import apart, told_apart
        from repic.tables.write import write_tables

        assert self.folder is not None
        runs = [run for folder in self._done() if (run := read_run(Path(folder))).metrics]
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
                write_tables(self.folder, f"{name}{suffix}", table)
            asked = self._asked(tables, group)
            for name, table in asked.items():
                write_tables(self.folder, f"{name}{suffix}", table)
                if len(groups) > 1:
                    table = replace(table, title=f"{table.title}: {told_apart(groups, number)}")
                shown.append(table)
        return shown

    def _asked(self, tables: Mapping[str, Any], runs: Sequence[Any]) -> dict[str, Any]:
        """The tables to show, by the names of their files."""
        from repic.tables.layouts import tables_of

        if self.form == "accuracy":
            return {n: tables[n] for n in ("table", "names") if n in tables}
        try:
            return tables_of(self.form, runs)
        except ValueError as error:
            log.warning("no table: %s", error)
            return {}
