"""Benchmarks: suites of trainings over tasks and seeds, run in parallel, and their results."""
