"""PyTorch's AdamW, Adam with its epsilon as in TensorFlow, and gradient steps with either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from prefrl.errors import NonFiniteError

__all__ = ["TensorFlowAdam", "descend", "make_adam"]


def make_adam(
    parameters: Iterable[nn.Parameter] | list[dict[str, Any]],
    learning_rate: float,
    *,
    eps: float,
    tf: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """Makes PyTorch's AdamW, or TensorFlow's Adam, which has no weight decay here."""
    if tf:
        return TensorFlowAdam(parameters, learning_rate, eps=eps)
    return torch.optim.AdamW(
        parameters, learning_rate, eps=eps, weight_decay=weight_decay, fused=True
    )


def descend(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    *,
    max_grad_norm: float | None,
    where: str,
) -> None:
    """Takes a step along the current gradients, clipped to a norm.

    Args:
        optimizer: Optimizer that takes the step.
        parameters: Parameters that it trains.
        max_grad_norm: The norm; None does not clip.
        where: Step of the training, named in the error.

    Raises:
        NonFiniteError: If a gradient is not finite; the parameters stay as they were.
    """
    limit = float("inf") if max_grad_norm is None else max_grad_norm
    norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
    if not bool(torch.isfinite(norm)):
        raise NonFiniteError(
            f"expected a finite gradient in {where}, got the norm {float(norm)}; lower the "
            "learning rate."
        )
    optimizer.step()


class TensorFlowAdam(torch.optim.Optimizer):
    """Adam whose epsilon is outside the bias correction (Kingma and Ba 2015, end of section 2).

    ``p -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)``. PyTorch adds epsilon to the
    corrected ``sqrt(v / (1 - b2^t))``: in the first steps TensorFlow's epsilon has some 30 times
    the effect, which makes steps smaller where gradients are tiny (Huang et al. 2023, detail A).

    Args:
        parameters: Parameters to train, or groups of them.
        learning_rate: Step size.
        eps: Epsilon.
        betas: Decay of the two moments.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter] | list[dict[str, Any]],
        learning_rate: float,
        *,
        eps: float = 1e-5,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        super().__init__(parameters, {"lr": learning_rate, "eps": eps, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Updates all parameters that have a gradient."""
        for group in self.param_groups:
            first_decay, second_decay = group["betas"]
            with_gradient = [p for p in group["params"] if p.grad is not None]
            for p in with_gradient:
                state = self.state[p]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
                state["step"] += 1
                t = float(state["step"])
                state["exp_avg"].lerp_(p.grad, 1 - first_decay)
                state["exp_avg_sq"].mul_(second_decay).addcmul_(
                    p.grad, p.grad, value=1 - second_decay
                )
                size = group["lr"] * (1 - second_decay**t) ** 0.5 / (1 - first_decay**t)
                p.addcdiv_(
                    state["exp_avg"], state["exp_avg_sq"].sqrt().add_(group["eps"]), value=-size
                )
