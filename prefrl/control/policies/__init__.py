"""Trained policies: which ones a run kept, how to load them, and how good they are."""
