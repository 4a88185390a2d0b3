"""Labelling pages on other machines: films in object storage, news in the label store.

``objects`` reads and writes object storage, ``media`` puts a run's films and texts there,
``places`` says where a run and its pages find one another, and ``courier`` carries the news between
them.
"""
