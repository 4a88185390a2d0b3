"""Common parts of the web servers: checks before any route sees a request, and listening."""
