"""Everything that prefrl raises on purpose.

The tree::

    PrefrlError
    ├── ConfigError              a setting that cannot work, found before work starts
    │   ├── UnsupportedSpaceError    an observation or action space that is not supported (yet)
    │   └── MissingExtraError        an optional library is needed and absent
    ├── RunDirectoryError        a run directory is missing, in use, or not one of ours
    ├── FitInterruptedError      a fit was told to end
    ├── NotEnoughDataError       fewer segments or comparisons than were asked for
    ├── StoreError               the label store refused
    │   ├── SubmissionConflictError  one submission key, two different answers
    │   └── StoreUnavailableError    a full disk or a lock: a later attempt may work
    ├── MediaUnavailableError    object storage cannot be reached: a later attempt may work
    ├── FilmError                no film can be made on this machine
    ├── EnvironmentFaultError    an environment keeps failing
    ├── NonFiniteError           losses, gradients, rewards or observations are not finite numbers
    └── RoleError                a role of the asynchronous run cannot go on

Every message says what was expected, what was got, and what to do. The command line prints the
message alone and exits with code 2.
"""

__all__ = [
    "ConfigError",
    "EnvironmentFaultError",
    "FilmError",
    "FitInterruptedError",
    "MediaUnavailableError",
    "MissingExtraError",
    "NonFiniteError",
    "NotEnoughDataError",
    "PrefrlError",
    "RoleError",
    "RunDirectoryError",
    "StoreError",
    "StoreUnavailableError",
    "SubmissionConflictError",
    "UnsupportedSpaceError",
]


class PrefrlError(Exception):
    """Base class: catch this to catch everything that prefrl raises on purpose."""


class ConfigError(PrefrlError, ValueError):
    """A setting that cannot work."""


class UnsupportedSpaceError(ConfigError):
    """An observation or action space that prefrl does not handle."""


class MissingExtraError(ConfigError):
    """An optional library is needed and not installed."""


class RunDirectoryError(PrefrlError):
    """A run directory is missing, already in use, or not one of ours."""


class FitInterruptedError(PrefrlError):
    """A fit was told to end before it was done."""


class NotEnoughDataError(PrefrlError):
    """Fewer segments or comparisons than were asked for."""


class StoreError(PrefrlError):
    """The label store refused an operation."""


class SubmissionConflictError(StoreError):
    """A submission key came back with a different answer than the first time."""


class StoreUnavailableError(StoreError):
    """The database is unavailable now: nothing was stored, and a later attempt may work."""


class MediaUnavailableError(PrefrlError):
    """Object storage cannot be reached now: a later attempt may work."""


class FilmError(PrefrlError):
    """No film can be made: no GL, or no simulator states."""


class EnvironmentFaultError(PrefrlError):
    """An environment keeps raising exceptions, or returning numbers that are not finite."""


class NonFiniteError(PrefrlError):
    """Losses, gradients, rewards or observations kept coming out as NaN or infinite."""


class RoleError(PrefrlError):
    """A role of the asynchronous run cannot go on."""
