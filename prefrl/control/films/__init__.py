"""Films from simulator states or replayed episodes, for labellers and for the report."""
