"""The report of a run: figures and one page, made from its files.

It needs only the run directory, so a report can be made while the run goes on, after it was cut
short, or on another machine.
"""

from prefrl.report.page import write_report

__all__ = ["write_report"]
