"""One file per command of ``prefrl``; they alone wire the parts together."""
