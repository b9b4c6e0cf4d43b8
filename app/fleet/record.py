"""What the driver knows of its fleet, kept in the run folder: it outlives the driver and the cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict

from app.artifacts.layout import FLEET
from app.artifacts.store import Folder
from app.core.errors import StorageError
from app.core.records import JsonObject
from app.fleet.fleet import Fleet

log = logging.getLogger(__name__)


class FleetRecord:
    """``fleet.json``: model name -> key, state, failures, preemptions, reason and when that was.

    names: key -> name of each model.
    """

    def __init__(self, run: Folder, names: Mapping[str, str]) -> None:
        self._run, self._names = run, names

    def preemptions(self) -> dict[str, int]:
        """Key -> how often the model was preempted under earlier drivers."""
        return {
            str(entry["key"]): int(str(entry["preemptions"]))
            for entry in self._read().values()
            if isinstance(entry, dict)
        }

    def write(self, fleet: Fleet) -> None:
        """Enter the fleet's members; models of other fleets of the run stay.

        A storage that is away for a moment must not end the driver: the next change is written with this one.
        """
        try:
            # Read anew each time: seed, dense and experts may be fleets of their own in one run.
            entries = self._read()
            for member in fleet.members:
                entries[self._names[member.key]] = {**asdict(member), "time": time.time()}
            self._run.write_json(FLEET, entries)
        except StorageError as error:
            log.warning("the fleet's state is not recorded for now: %s", error)

    def _read(self) -> JsonObject:
        return self._run.read_json(FLEET) if self._run.exists(FLEET) else {}
