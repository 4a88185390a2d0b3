"""Selection rules that the suite selection compares with prefrl's own."""

import numpy as np

from prefrl.core.selection import Candidates, disagreement_scores


def half(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Each query is one that members disagree about, or with even odds any one."""
    order = np.argsort(-disagreement_scores(candidates.preferences), kind="stable")
    n_active = int(rng.binomial(n, 0.5))
    rest = rng.permutation(order[n_active:])
    return np.concatenate([order[:n_active], rest[: n - n_active]])


def margin(candidates: Candidates, n: int, rng: np.random.Generator) -> np.ndarray:
    """Members disagree about how much better, not only about which: deviation of the log odds."""
    p = np.clip(np.asarray(candidates.preferences, np.float64), 1e-12, 1 - 1e-12)
    scores = (np.log(p) - np.log1p(-p)).std(axis=0)
    return np.argsort(-scores, kind="stable")[:n]
