"""What each server of ours does before a route sees a request, and how it listens."""
