"""Pictures and one page from the files of a run.

The room reads only what lies in the run directory, so a report can be made while the run goes
on, after it was cut short, or on another machine.
"""

from prefrl.report.page import write_report

__all__ = ["write_report"]
