"""Data files that are read and written: prompts, demonstrations, preferences."""
