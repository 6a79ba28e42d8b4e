"""The learning rate of a pre-training: warm-up, plateau, linear decay."""

from __future__ import annotations

from tangentlm.params import Recipe


def rate_factor(recipe: Recipe, used: float) -> float:
    """The learning rate as a share of its peak: up, level, down to zero.

    Args:
        recipe: Has the shares of warm-up and decay.
        used: The share of the budget that is used up.

    Returns:
        From 0 to 1.
    """
    up = used / recipe.warmup if recipe.warmup else 1.0
    down = (1 - used) / recipe.decay if recipe.decay else 1.0
    return max(min(up, down, 1.0), 0.0)
