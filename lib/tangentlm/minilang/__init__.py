"""A small generated language whose truth is known, to pre-train on in minutes.

What pre-training teaches is set by hand: how strongly words show a latent sentiment, topic and
relation, and which of two equal prompts pre-training contained. So the same model can be asked
the same question with a prompt that it knows and with one that it does not.
"""

from tangentlm.minilang.language import Language, prompted_task
from tangentlm.minilang.lexicon import LEXICON, PATTERNS, TASKS, Lexicon, Pattern, Prompt, TaskName
from tangentlm.minilang.tokenizer import make_tokenizer

__all__ = [
    "LEXICON",
    "PATTERNS",
    "TASKS",
    "Language",
    "Lexicon",
    "Pattern",
    "Prompt",
    "TaskName",
    "make_tokenizer",
    "prompted_task",
]
