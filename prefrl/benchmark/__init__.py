"""Suites of trainings over tasks and seeds: running them in parallel, and their results."""
