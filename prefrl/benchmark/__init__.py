"""Trainings over tasks and seeds, as suites: which ones, done side by side, and what they show."""
