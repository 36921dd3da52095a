"""The file in which finished runs wait for the rest of an interrupted comparison."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfopt.compare.contest import Run

FORMAT = "tfopt-compare-1"


@dataclasses.dataclass
class ResultsFile:
    """Finished runs, and what they depend on, as JSON.

    Attributes:
        path: the file.
        about: what the runs depend on besides optimizer and seed: versions, problem, epochs.
    """

    path: Path
    about: Mapping[str, Any]

    def finished(self) -> list[Run]:
        """Returns the runs of an interrupted comparison that the new one can use.

        Returns:
            None of them if the comparison in the file was completed, or was about something
            else, or if the file is not legible.
        """
        try:
            content = json.loads(self.path.read_text("utf-8"))
            fits = content["format"] == FORMAT and not content["complete"]
            if not fits or content["about"] != dict(self.about):
                return []
            return [_run(fields) for fields in content["runs"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def write(self, runs: Sequence[Run], *, complete: bool = False) -> None:
        """Writes the runs, so that the file is whole even if the process is killed meanwhile."""
        content = {
            "format": FORMAT,
            "complete": complete,
            "about": dict(self.about),
            "runs": [_fields(run) for run in runs],
        }
        part = self.path.with_name(f"{self.path.name}.part")
        part.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(part, self.path)


def _fields(value: Any) -> Any:
    """Returns a run as JSON can hold it: JSON has no NaN and no infinity, so those are texts."""
    if isinstance(value, Run):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {name: _fields(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_fields(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _run(fields: Mapping[str, Any]) -> Run:
    numbers = {"losses", "seconds"}
    read: dict[str, Any] = {
        name: [float(v) for v in value] if name in numbers else value
        for name, value in fields.items()
    }
    read["first"] = float(fields["first"])
    read["test"] = {name: float(value) for name, value in fields["test"].items()}
    return Run(**read)
