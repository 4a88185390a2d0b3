"""One module per command of ``prefrl``; only these wire the parts together."""
