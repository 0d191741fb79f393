"""The table at the end of a multirun, as a Hydra callback."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

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

    begun: "ClassVar[AblationTable | None]" = None  # of the multirun that this process is at

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.form = ""  # of the table
        self.given: list[str] = []  # what the multirun was told

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        from repic.tables.layouts import refuse_unknown

        study = config.hydra.runtime.choices.get("study")
        if study:  # whose experiments have names of their own
            group = Path("studies") / study
        else:
            label = settings.slug(list(config.hydra.overrides.task), str(config.name))
            group = Path(str(config.name)) / "sweeps" / label
        self.folder = Path(config.outputs) / group
        self.form, self.given = config.table.form, list(config.hydra.overrides.task)
        refuse_unknown(self.form, "table.form")
        # Jobs run in this process or in its children: a group in conf/logger/wandb.yaml.
        os.environ["REPIC_SWEEP"] = str(group).replace("/sweeps/", "/")
        AblationTable.begun = self
        if rank() == 0:
            for file in (self._jobs, self._failures):
                file.unlink(missing_ok=True)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        cfg, has_failed = job_return.cfg, job_return.status == JobStatus.FAILED
        if self.folder is None or cfg is None or rank() > 0:
            return
        if settings.phase_without_model(config.method.phases) is not None:
            return  # its table was printed, and there is no run to compare
        self.folder.mkdir(parents=True, exist_ok=True)
        # Files, because launchers may run jobs in processes with copies of this object. Whoever is
        # the last to hold the lock writes the table of all; a job that is queued again is one.
        with FileLock(self.folder / ".lock"):
            if has_failed:
                told = [o for o in job_return.overrides or () if o not in self.given]
                append_line(self._failures, " ".join(told), durable=True)
                return
            if cfg.folder not in _texts(self._jobs):
                append_line(self._jobs, cfg.folder, durable=True)
            self._write()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        AblationTable.begun = None
        self.show()

    def show(self) -> None:
        """Print the tables of the runs that have ended, and name those that have failed."""
        if self.folder is not None and self._jobs.exists() and rank() == 0:
            from repic.tables.write import print_tables

            tables = self._write()
            print_tables(*tables)
            if tables:
                print(f"written to {self.folder}, as .md, .csv and .tex")
            for told in _texts(self._failures):
                print(f"not in it, as it has failed: {told}")

    @property
    def _jobs(self) -> Path:
        """Lists the folders of the runs so far."""
        assert self.folder is not None
        return self.folder / "runs.jsonl"

    @property
    def _failures(self) -> Path:
        """Lists what failed jobs were told beside what all are."""
        return self._jobs.with_name("failed.jsonl")

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
        runs = [run for folder in _texts(self._jobs) if (run := read_run(Path(folder))).metrics]
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


@contextmanager
def ended_with_tables() -> Iterator[None]:
    """Let a multirun whose jobs have failed show its tables, too: Hydra tells no callback of it."""
    AblationTable.begun = None
    try:
        yield
    except Exception:
        if AblationTable.begun is not None:
            AblationTable.begun.show()
        raise


def _texts(path: Path) -> list[str]:
    return [as_shape(str, row, place) for place, row in read_rows(path, may_be_cut=True)]
