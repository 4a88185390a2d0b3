"""Films from simulator states, for the people who compare and for the report."""
