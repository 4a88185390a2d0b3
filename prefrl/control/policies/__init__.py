"""Trained policies: which a run kept, how they are loaded, and what they are worth."""
