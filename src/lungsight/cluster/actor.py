"""What runs on the machines of a cluster: an actor that holds the networks and predicts one unit after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from lungsight import __version__
from lungsight.batch.index import RunIndex
from lungsight.batch.outputs import Outputs
from lungsight.batch.run import Run
from lungsight.cluster.units import Units, part_path, write_part
from lungsight.errors import ConfigError
from lungsight.inference import Lungsight, ResultRecord
from lungsight.progress import silent
from lungsight.records import to_json


class Predictor:
    """One core's worth of prediction. Ray makes one for each actor and calls it with numbers of units."""

    def __init__(
        self, engine: Lungsight, outputs: Outputs, folder: str, run: int, batch: int, version: str
    ) -> None:
        """Take the networks and open the list of inputs.

        Args:
            engine: with one thread.
            outputs: what is written for each X-ray.
            folder: of the results; every machine has it under this name.
            run: number of the run, in the names of its parts.
            batch: X-rays that go through the networks together.
            version: of lungsight where the run was started.

        Raises:
            ConfigError: another version of lungsight is installed here.
            OutputError: the folder is not seen from here.
        """
        if version != __version__:
            raise ConfigError(
                f"a machine of the cluster has lungsight {__version__}, not {version}",
                code="other_version",
                hint="Install the same version everywhere",
            )
        self.engine, self.outputs, self.folder = engine, outputs, Path(folder)
        self.run, self.batch = run, batch
        self.units = Units(self.folder)

    def __call__(self, units: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """Predict units; gives the summary of each, as JSON, as soon as its rows are written."""
        for unit in map(int, units["unit"]):
            yield {"unit": [unit], "summary": [self.predict(unit)]}

    def predict(self, unit: int) -> bytes:
        """Predict one unit and write its files and its rows.

        Raises:
            OutputError: nothing can be written.
            ModelError: a network does not run.
        """
        start = time.perf_counter()
        rows = _Rows()
        with closing(RunIndex()) as index:
            for place, stem in self.units.inputs(unit):
                index.add(place, stem)
            run = Run(self.engine, self.outputs, index, rows, silent, None)
            run.sinks = rows
            run.work(self.batch)
        # After the files that they name, and all at once.
        write_part(part_path(self.folder, self.run, unit), rows.rows)
        return to_json(run.summary(self.folder, time.perf_counter() - start), indent=0)


class _Rows:
    """The rows of one unit, in memory until all are there."""

    wants_thumbnail = False

    def __init__(self) -> None:
        self.rows: list[ResultRecord] = []

    def append(self, row: ResultRecord) -> None:
        self.rows.append(row)

    def add(self, row: ResultRecord, picture: bytes | None) -> None:
        """Nothing is made beside the table."""

    def kept(self) -> Iterator[ResultRecord]:
        return iter(())
