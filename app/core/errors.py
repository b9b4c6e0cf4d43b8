"""Every error a user can cause.

XelmError
├── ConfigError            a value in the configuration or on the command line
├── NotReady               this machine or cluster cannot do what is configured; nothing was started
├── CorpusError            the text that was given
├── ArtifactError          what is in the store
│   ├── MissingArtifact    a stage has not been run
│   ├── StaleArtifact      made by another version or from another parent
│   ├── CorruptArtifact    torn, truncated, or not what its digest says
│   └── StorageError       the storage fails: full, unreachable, not permitted; may pass
├── AllocationError        the corpus cannot be cut as asked
├── TrainingError          a model cannot be trained as asked
│   ├── NonFiniteLoss      the loss became NaN or infinite
│   ├── NotTrained         models of a fleet were given up; the others are finished
│   ├── Preempted          the machine is going away; run the same command again
│   │   └── Interrupted    the user has asked for it at the terminal
│   └── LeaseLost          another attempt has taken over this model
└── ServingError           a request or an ensemble that cannot be served
    └── Overloaded         too many requests wait; worth another try

A message names the value, the place and the cure. What only a bug can cause is an ``assert``.
"""

from __future__ import annotations

from collections.abc import Mapping


class XelmError(Exception):
    """Base of everything a user can cause; jobs print its message without a traceback."""


class ConfigError(XelmError):
    """A configuration value is unknown, out of range, or contradicts another."""


class NotReady(XelmError):
    """The pre-flight found what would make the job fail or wait for ever."""


class CorpusError(XelmError):
    """The corpus is missing, unreadable, or in an unknown language."""


class ArtifactError(XelmError):
    """Something in the store is not as it should be."""


class MissingArtifact(ArtifactError):
    """A stage that is needed has not been completed."""


class StaleArtifact(ArtifactError):
    """A stage was made by another format version or from another parent."""


class CorruptArtifact(ArtifactError):
    """A stored file is torn or does not match its digest."""


class StorageError(ArtifactError):
    """The storage cannot be written or read at the moment: worth another try."""


class AllocationError(XelmError):
    """The corpus cannot be cut into the parts asked for."""


class TrainingError(XelmError):
    """A model cannot be trained as asked."""


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite."""


class NotTrained(TrainingError):
    """Models of a fleet were given up; ``reasons``: why, by their keys."""

    def __init__(self, message: str, reasons: Mapping[str, str]) -> None:
        super().__init__(message)
        self.reasons = reasons


class Preempted(TrainingError):
    """Training stopped early on request; running the same command again continues it."""


class Interrupted(Preempted):
    """Training stopped early because of Ctrl-C; everything is saved."""


class LeaseLost(TrainingError):
    """Another attempt has taken over this model; what this one still holds must not be written."""


class ServingError(XelmError):
    """An ensemble or a request cannot be served."""


class Overloaded(ServingError):
    """Too many requests wait at the moment: worth another try."""
