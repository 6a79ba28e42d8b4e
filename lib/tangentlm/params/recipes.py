"""Recipes of masked-LM pre-training: ``params/recipes/<name>.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from tangentlm.params.files import named_file, read_yaml
from tangentlm.params.strict import PositiveRate, Strict

Parametrization = Literal["standard", "mup"]
"""How initial scales and learning rates depend on the width."""


class Recipe(Strict):
    """How a masked language model is made from text.

    Attributes:
        about: What it is for.
        architecture: A ``model_type`` of transformers that has a masked-LM, e.g. ``modernbert``.
        depth: Layers.
        width: Size of the hidden states, n.
        head_width: Size of one attention head; there are ``width / head_width`` of them.
        feed_forward: Size of the feed-forward layer, in widths.
        settings: Further fields of the architecture's configuration.
        vocabulary: Entries of the byte-level BPE, special tokens included.
        passes: How often an epoch reads a part of the corpus, by the name of its file without
            ending; once where nothing is said.
        length: Tokens of a packed row.
        masked: Share of the tokens that are masked and predicted.
        masked_verdicts: The same for the verdicts of the generated language's prompts, where it
            is another share.
        batch_size: Rows of a step.
        steps: The budget in steps, or
        minutes: the budget in minutes of training.
        learning_rate: The peak rate of AdamW.
        warmup: Share of the budget in which the rate rises from zero.
        decay: Share of the budget in which it falls to zero, at the end.
        weight_decay: AdamW's, on matrices only.
        base_width: The width at which the two parametrizations are the same.
        start: A model, as a run names one, whose tokenizer and weights are taken; where it has no
            masked-LM head, a new one is put on its encoder. Without it all weights are random.
        start_rate: The peak rate of what starts there, as a share of the head's.
        frozen: Share of the budget, at its begin, in which the head learns alone.
    """

    later: ClassVar[Mapping[str, object]] = {"start": None, "start_rate": 1.0, "frozen": 0.0}

    about: str
    architecture: str = "modernbert"
    depth: PositiveInt
    width: PositiveInt
    head_width: PositiveInt
    feed_forward: PositiveRate
    settings: dict[str, Any] = Field(default_factory=dict)
    vocabulary: int = Field(ge=2, le=65536)
    passes: dict[str, NonNegativeInt] = Field(default_factory=dict)
    length: int = Field(default=128, ge=8)
    masked: float = Field(default=0.2, gt=0, lt=1)
    masked_verdicts: float | None = Field(default=None, gt=0, lt=1)
    batch_size: PositiveInt
    steps: PositiveInt | None = None
    minutes: PositiveRate | None = None
    learning_rate: PositiveRate
    warmup: float = Field(default=0.02, ge=0, le=1)
    decay: float = Field(default=0.9, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0)
    base_width: PositiveInt = 64
    start: str | None = None
    start_rate: PositiveRate = 1.0
    frozen: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("needs a budget: either steps or minutes")
        if self.width % self.head_width:
            raise ValueError(
                f"a width of {self.width} is not a multiple of the head width {self.head_width}"
            )
        if self.warmup + self.decay > 1:
            raise ValueError("warm-up and decay are longer than the budget")
        if self.start is None and (self.start_rate, self.frozen) != (1.0, 0.0):
            raise ValueError("start_rate and frozen are for a recipe with a start")
        if round(self.masked * (self.length - 1)) < 1:
            raise ValueError(f"masked = {self.masked} of {self.length} tokens is not one token")
        return self

    @property
    def feed_forward_width(self) -> int:
        """Size of the feed-forward layer."""
        return round(self.feed_forward * self.width)

    @property
    def tokens_a_step(self) -> int:
        """How many tokens one step reads."""
        return self.batch_size * self.length

    @property
    def max_length(self) -> int:
        """The longest row that the model can read, in tokens."""
        return int(self.settings.get("max_position_embeddings", self.length))

    def replaced(self, width: int | None, steps: int | None, minutes: float | None) -> Recipe:
        """This recipe with another width or budget.

        Args:
            width: A width, or ``None`` for the recipe's.
            steps: A budget in steps, or ``None``.
            minutes: A budget in minutes, or ``None``; with neither, the recipe's budget stays.

        Returns:
            The recipe.

        Raises:
            InputError: If the width does not fit, or two budgets are given.
        """
        values = self.model_dump()
        if width is not None:
            values["width"] = width
        if steps is not None or minutes is not None:
            values |= {"steps": steps, "minutes": minutes}
        return Recipe.parse(values, "recipe")


def load_recipe(name: str) -> Recipe:
    """The recipe ``params/recipes/<name>.yaml``.

    Args:
        name: The recipe's name, e.g. ``"pocket"``.

    Returns:
        The recipe.

    Raises:
        InputError: If there is no such recipe or its file is wrong.
    """
    return Recipe.parse(read_yaml(named_file("recipe", name)), f"recipe {name}")
