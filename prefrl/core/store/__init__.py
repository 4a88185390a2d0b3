"""The label store: queries, answers as append-only events, and the database under them."""

from prefrl.core.store.label_store import (
    Counts,
    LabelChange,
    LabelEvent,
    LabelStore,
    Lease,
    Submission,
)

__all__ = ["Counts", "LabelChange", "LabelEvent", "LabelStore", "Lease", "Submission"]
