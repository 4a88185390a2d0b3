"""The user's own films and texts, compared by people without an agent."""
