"""Selection rules: which candidate pairs to ask, from the members' preferences.

No rule wins everywhere: Christiano et al. 2017 (section 3.3), Ibarz et al. 2018 (section 2.5) and
others report disagreement as neutral or harmful in some tasks. All rules share one signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefrl.core.plugs import check_takes, load_plug
from prefrl.errors import ConfigError, NonFiniteError, NotEnoughDataError

__all__ = [
    "SELECTIONS",
    "Candidates",
    "Selection",
    "SelectionFunction",
    "disagreement_scores",
    "entropy_scores",
    "selection_rule",
]

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Candidates:
    """C pairs, or rankings of P pairs each, that might be asked.

    Only the k-center rules read ``features`` and ``labelled_features``, which are functions so that
    other rules need not compute them.

    Raises:
        NonFiniteError: If a preference is NaN.
        ConfigError: If the preferences are not of shape (M, C) or (M, C, P) and in [0, 1].
    """

    preferences: Floats
    """P(left is better) of each member, in [0, 1]: shape (M, C) for pairs, (M, C, P) for rankings
    of more than two items."""
    features: Floats | Callable[[], Floats] | None = None
    """Raw observations of all items of each candidate, concatenated, shape (C, F)."""
    labelled_features: Floats | Callable[[], Floats] | None = None
    """The same for the queries asked so far, shape (L, F); None for L = 0."""
    items: Sequence[tuple[Any, ...]] = ()
    """The items of each candidate: C tuples of two items, or of the K items of a ranking. Items are
    segments of an agent, or responses of a language model."""

    def __post_init__(self) -> None:
        p = self.preferences
        if bool(np.isnan(p).any()):
            raise NonFiniteError(
                "expected a finite reward for the items that might be asked about, got NaN; look "
                "for numbers in the observations that are not finite, or lower fit.learning_rate."
            )
        if p.ndim not in (2, 3) or not bool(np.all((p >= 0) & (p <= 1))):
            raise ConfigError(
                "expected preferences of shape (members, candidates) in [0, 1], got shape "
                f"{p.shape} from {p.min(initial=np.inf)} to {p.max(initial=-np.inf)}; give "
                "probabilities, one row for each member."
            )

    def __len__(self) -> int:
        return int(self.preferences.shape[1])


SelectionFunction = Callable[[Candidates, int, np.random.Generator], NDArray[np.intp]]
"""A function from candidates and n to n different positions, the most wanted first."""

Selection = str | SelectionFunction
"""A name of ``SELECTIONS``, ``module:name`` or ``FILE.py:name``, or such a function."""


def disagreement_scores(preferences: Floats) -> Floats:
    """Standard deviation over members of the preference (Christiano et al. 2017, section 2.2.4).

    Args:
        preferences: P(left is better), shape (M, C), or (M, C, P): then the mean over P pairs.

    Returns:
        Shape (C,), in [0, 0.5].
    """
    return _over_pairs(preferences.std(axis=0))


def entropy_scores(preferences: Floats) -> Floats:
    """Mean over members of the entropy of the preference (B-Pref, Lee et al. 2021, section 4.3).

    Args:
        preferences: P(left is better), shape (M, C), or (M, C, P): then the mean over P pairs.

    Returns:
        Shape (C,), in nats, in [0, ln 2].
    """
    # In float32 a sigmoid is exactly 1 from a margin of 17 on, and 1 - 1e-12 is 1 too.
    p = np.clip(np.asarray(preferences, np.float64), 1e-12, 1 - 1e-12)
    entropies: Floats = -(p * np.log(p) + (1 - p) * np.log1p(-p))  # (M, C) or (M, C, P)
    return _over_pairs(entropies.mean(axis=0))


def _over_pairs(values: Floats) -> Floats:
    """The mean over the pairs of each candidate, (C,)."""
    return np.asarray(values if values.ndim == 1 else values.mean(axis=1))


def _uniform(candidates: Candidates, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    _check(candidates, n)
    return rng.choice(len(candidates), size=n, replace=False)


def _disagreement(candidates: Candidates, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    _check(candidates, n)
    return _top(disagreement_scores(candidates.preferences), n)


def _entropy(candidates: Candidates, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    _check(candidates, n)
    return _top(entropy_scores(candidates.preferences), n)


def _k_center(candidates: Candidates, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    _check(candidates, n)
    return _greedy_centers(candidates, np.arange(len(candidates)), n)


def _k_center_disagreement(
    candidates: Candidates, n: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    return _hybrid(candidates, n, disagreement_scores(candidates.preferences))


def _k_center_entropy(candidates: Candidates, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return _hybrid(candidates, n, entropy_scores(candidates.preferences))


SELECTIONS: dict[str, SelectionFunction] = {
    "uniform": _uniform,
    "disagreement": _disagreement,
    "entropy": _entropy,
    "k_center": _k_center,
    "k_center_disagreement": _k_center_disagreement,
    "k_center_entropy": _k_center_entropy,
}
"""The built-in rules by name."""


def selection_rule(selection: Selection) -> SelectionFunction:
    """Finds the rule that a setting names; the results of a user's rule are checked.

    Args:
        selection: A name of ``SELECTIONS``, ``module:name``, or a function.

    Raises:
        ConfigError: If no rule has that name, or it cannot be called like a rule. The returned rule
            raises it if the user's rule raises, or does not return n different positions.
    """
    if isinstance(selection, str) and selection in SELECTIONS:
        return SELECTIONS[selection]
    if isinstance(selection, str) and ":" not in selection:
        raise ConfigError(
            f"expected selection to be one of {', '.join(SELECTIONS)}, or module:name, got "
            f"{selection!r}."
        )
    name = selection if isinstance(selection, str) else repr(selection)
    rule = load_plug(selection, option="selection") if isinstance(selection, str) else selection
    if not callable(rule) or isinstance(rule, type):
        raise ConfigError(f"expected selection {name} to be a function, got {rule!r}.")
    check_takes(rule, "candidates", "n", "rng", option=f"selection {name}")

    def checked(candidates: Candidates, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
        _check(candidates, n)
        try:
            chosen = np.asarray(rule(candidates, n, rng))
        except Exception as error:  # whatever a user's function raises
            raise ConfigError(
                f"selection {name} raised {type(error).__name__}: {error}; fix it and resume."
            ) from error
        is_position = chosen.dtype.kind in "iu" and chosen.shape == (n,)
        if not is_position or len({*chosen.tolist()} & {*range(len(candidates))}) != n:
            raise ConfigError(
                f"expected selection {name} to return {n} different positions below "
                f"{len(candidates)}, got {chosen!r}; fix it and resume."
            )
        return chosen.astype(np.intp)

    return checked


def _check(candidates: Candidates, n: int) -> None:
    if n < 0:
        raise ValueError(f"expected a number of pairs to ask, got {n}.")
    if n > len(candidates):
        raise NotEnoughDataError(
            f"expected at least {n} candidate pairs, got {len(candidates)}; collect more segments "
            "or ask for fewer labels at once."
        )


def _top(scores: Floats, n: int) -> NDArray[np.intp]:
    """Positions of the n highest scores; the earlier one if scores are equal."""
    return np.argsort(-scores, kind="stable")[:n]


def _hybrid(candidates: Candidates, n: int, scores: Floats) -> NDArray[np.intp]:
    """B-Pref's hybrids: the more uncertain half of the candidates, then k-center among them."""
    _check(candidates, n)
    return _greedy_centers(candidates, _top(scores, max(n, len(candidates) // 2)), n)


def _greedy_centers(candidates: Candidates, among: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Greedily takes the candidate farthest from all that were asked or chosen (B-Pref).

    Among equally far ones, and if nothing was asked yet, it takes the earliest of ``among``.
    """
    features, labelled = _array(candidates.features), _array(candidates.labelled_features)
    if features is None or len(features) != len(candidates):
        raise ConfigError(
            f"k-center selection needs a row of features for each of {len(candidates)} candidates, "
            f"got {'none' if features is None else features.shape}; choose another selection."
        )
    features = features[among]  # (K, F)
    norms = np.square(features).sum(1)  # once: they take longer than the products
    if labelled is not None and len(labelled):
        nearest = _squared_distances(features, labelled).min(axis=1)  # (K,)
    else:
        nearest = np.full(len(features), np.inf)
    chosen: list[int] = []
    for _ in range(n):
        farthest = int(np.argmax(nearest))
        chosen.append(farthest)
        products = (features @ features[farthest : farthest + 1].T)[:, 0]  # (K,)
        to_chosen = np.maximum(norms + norms[farthest] - 2 * products, 0.0)  # (K,)
        nearest = np.minimum(nearest, to_chosen)
        nearest[chosen] = -1.0  # never again, even among copies at distance 0
    return among[chosen]


def _array(features: Floats | Callable[[], Floats] | None) -> Floats | None:
    """Features as an array of float64: the distances are small differences of large squares."""
    if features is None:
        return None
    return np.asarray(features() if callable(features) else features, np.float64)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """All pairs' squared distances, shape (A, B), in one matrix product."""
    norms = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None]
    return np.asarray(np.maximum(norms - 2 * a @ b.T, 0.0))
