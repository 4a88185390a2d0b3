"""The label store: queries, answers as events that are only added, and the database below."""

from prefrl.core.store.label_store import (
    Counts,
    LabelChange,
    LabelEvent,
    LabelStore,
    Lease,
    Submission,
)

__all__ = ["Counts", "LabelChange", "LabelEvent", "LabelStore", "Lease", "Submission"]
