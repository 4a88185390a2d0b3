"""How well people agree: per cent agreement, Krippendorff's alpha and Gwet's AC1.

All three measures take the same table: ``counts`` has one row per unit (here: a query) and one
column per category (here: an answer), and holds how many people put the unit into the category. Who
they were does not matter. Rows may hold different numbers of answers, so answers may be missing.
``tabulate`` makes the table from single answers.

Per cent agreement alone is too optimistic: two people who toss coins agree on half of the pairs.
The other two subtract the agreement expected by chance, and differ in how they define chance. Alpha
is misleading when nearly all answers are the same ("the paradox of kappa"); AC1 was designed to
avoid that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "gwet_ac1",
    "krippendorff_alpha",
    "percent_agreement",
    "tabulate",
]


def tabulate(units: ArrayLike, categories: ArrayLike, n_categories: int) -> NDArray[np.int64]:
    """Counts single answers into the table that the measures use.

    Args:
        units: (A,) whole numbers from 0: what each of the A answers is about.
        categories: (A,) whole numbers from 0 to n_categories - 1: what was answered.
        n_categories: Number of possible answers, whether or not anybody chose them.

    Returns:
        (N, n_categories), with N one more than the largest unit.

    Raises:
        ValueError: If the two differ in length, or a number is out of range.
    """
    rows = np.asarray(units, dtype=np.int64)
    columns = np.asarray(categories, dtype=np.int64)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            f"expected one category for each unit, got shapes {rows.shape} and {columns.shape}."
        )
    if rows.size == 0:
        return np.zeros((0, n_categories), dtype=np.int64)
    if rows.min() < 0 or columns.min() < 0 or columns.max() >= n_categories:
        raise ValueError(
            f"expected units from 0 and categories from 0 to {n_categories - 1}, got units from "
            f"{rows.min()} and categories from {columns.min()} to {columns.max()}."
        )
    n_units = int(rows.max()) + 1
    cells = np.bincount(rows * n_categories + columns, minlength=n_units * n_categories)
    return cells.reshape(n_units, n_categories)


def percent_agreement(counts: ArrayLike) -> float | None:
    """The chance that two people who both answered a unit said the same, as a mean over units.

    Gwet (2008), "Computing inter-rater reliability and its variance in the presence of high
    agreement", p_a for many raters: the mean over units with r_i >= 2 answers of
    sum_k r_ik (r_ik - 1) / (r_i (r_i - 1)).

    Args:
        counts: (N, Q), how many people gave each answer.

    Returns:
        In [0, 1]; None if no unit has two answers.
    """
    table = _table(counts)
    answers = table.sum(axis=1)
    table, answers = table[answers >= 2], answers[answers >= 2]
    if answers.size == 0:
        return None
    agreeing = (table * (table - 1)).sum(axis=1)
    return float((agreeing / (answers * (answers - 1))).mean())


def krippendorff_alpha(counts: ArrayLike) -> float | None:
    """Krippendorff's alpha for nominal data, with missing answers.

    Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: with the
    coincidences o_ck = sum over units of (pairs c-k) / (m_u - 1), their row sums n_c and n = sum
    n_c, alpha = ((n - 1) sum_c o_cc - sum_c n_c (n_c - 1)) / (n (n - 1) - sum_c n_c (n_c - 1)).
    Units with a single answer are left out. Categories that nobody chose change nothing.

    Args:
        counts: (N, Q), how many people gave each answer.

    Returns:
        1 for full agreement, 0 for agreement by chance, below 0 for less. None where alpha is 0/0:
        no unit has two answers, or all answers are the same.
    """
    table = _table(counts)
    answers = table.sum(axis=1)
    table, answers = table[answers >= 2], answers[answers >= 2]
    totals = table.sum(axis=0)
    n = totals.sum()
    by_chance = (totals * (totals - 1)).sum()
    if n * (n - 1) == by_chance:
        return None
    agreeing = ((table * (table - 1)).sum(axis=1) / (answers - 1)).sum()
    return float(((n - 1) * agreeing - by_chance) / (n * (n - 1) - by_chance))


def gwet_ac1(counts: ArrayLike) -> float | None:
    """Gwet's AC1 for any number of people, with missing answers.

    Gwet (2008), British Journal of Mathematical and Statistical Psychology 61, 29-48, and Handbook
    of Inter-Rater Reliability (4th edition, 2014): (p_a - p_e) / (1 - p_e) with p_a as in
    ``percent_agreement``, p_e = sum_k pi_k (1 - pi_k) / (Q - 1), and pi_k the mean over all units
    with an answer of r_ik / r_i. Unlike alpha, it depends on Q, the number of possible answers:
    a column for an answer that nobody chose makes AC1 larger.

    Args:
        counts: (N, Q), how many people gave each answer.

    Returns:
        1 for full agreement, 0 for agreement by chance. None if no unit has two answers.

    Raises:
        ValueError: If there are fewer than two categories.
    """
    table = _table(counts)
    if table.shape[1] < 2:
        raise ValueError(f"expected at least two categories, got {table.shape[1]}.")
    observed = percent_agreement(table)
    if observed is None:
        return None
    answers = table.sum(axis=1, keepdims=True)
    kept = answers[:, 0] >= 1
    prevalence = (table[kept] / answers[kept]).mean(axis=0)
    expected = float((prevalence * (1 - prevalence)).sum()) / (table.shape[1] - 1)
    return float((observed - expected) / (1 - expected))


def _table(counts: ArrayLike) -> NDArray[np.int64]:
    table = np.asarray(counts, dtype=np.int64)
    if table.ndim != 2 or (table.size and table.min() < 0):
        raise ValueError(
            f"expected counts of 0 or more by unit and category, got shape {table.shape}"
            + (f" with {table.min()} in it." if table.ndim == 2 else "; see tabulate.")
        )
    return table
