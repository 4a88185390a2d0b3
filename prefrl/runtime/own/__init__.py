"""Films and texts of one's own, compared by people without an agent."""
