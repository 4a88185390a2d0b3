"""From simulator states to films, for the people who compare and for the report."""
