"""The run directory, the bus between processes: its paths and each kind of file in it."""

from prefrl.runtime.rundir.directory import RunDirectory

__all__ = ["RunDirectory"]
