"""Pictures and one page from the files of a run."""
