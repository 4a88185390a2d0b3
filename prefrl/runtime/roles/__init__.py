"""The processes of a run: each may die at any time, and is started again."""
