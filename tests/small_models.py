"""Small random models and batches, made in milliseconds, shared by several test files."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn

VOCABULARY = 40
PAD, MASK = 1, 4
LABEL_WORDS = (7, 9, 11)
ARCHITECTURES = ("roberta", "albert", "modernbert")


def masked_lm(architecture: str, seed: int = 0) -> nn.Module:
    """A masked-LM of transformers with hidden size 16, in eval mode; its decoder is tied."""
    import transformers as tf

    torch.manual_seed(seed)
    common = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 32,
        "pad_token_id": PAD, "attn_implementation": "eager", "initializer_range": 0.2,
    }  # fmt: skip
    if architecture == "roberta":
        return tf.RobertaForMaskedLM(tf.RobertaConfig(**common, type_vocab_size=1)).eval()
    if architecture == "albert":
        # Both layers share their parameters.
        return tf.AlbertForMaskedLM(tf.AlbertConfig(**common, embedding_size=8)).eval()
    special = {"bos_token_id": 0, "cls_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
    windows = {"global_attn_every_n_layers": 2, "local_attention": 4}
    config = tf.ModernBertConfig(**common, **special, **windows, initializer_cutoff_factor=2.0)
    return tf.ModernBertForMaskedLM(config).eval()


def prompt_model(architecture: str = "roberta", classes: int = 2, seed: int = 0) -> nn.Module:
    """A small masked-LM that reads out its label words at the mask, in eval mode."""
    from tangentlm.models import PromptModel

    return PromptModel(masked_lm(architecture, seed), list(LABEL_WORDS[:classes])).eval()


def prompt_batch(lengths: tuple[int, ...] = (9, 5, 7, 6), seed: int = 1) -> dict[str, Tensor]:
    """Rows of different lengths, padded on the right, with one mask each.

    The second token of every other row is a label word, so the tied decoder's rows get a gradient
    from the input as well.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    ids = torch.randint(12, VOCABULARY, shape, generator=generator)
    used = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    position = torch.tensor([2 + i % (n - 3) for i, n in enumerate(lengths)])
    ids[:, 0] = 0
    ids[::2, 1] = LABEL_WORDS[0]
    ids[1::4, 1] = LABEL_WORDS[1]
    ids[torch.arange(len(lengths)), position] = MASK
    ids[~used] = PAD
    return {"input_ids": ids, "attention_mask": used.long(), "mask_position": position}


class Mlp(nn.Module):
    """Two layers; every parameter has a dense gradient."""

    def __init__(self, inputs: int = 5, hidden: int = 7, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))


class Direct(nn.Module):
    """Parameters used directly in the forward: a matrix and a scalar."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.temperature = nn.Parameter(torch.tensor(1.7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x @ self.weight) * self.temperature + self.weight[0] * self.weight[1]


class Unused(Direct):
    """A parameter that the outputs do not depend on, and one that a zero takes out."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.randn(4))
        self.muted = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0.0 * self.muted


class Tied(nn.Module):
    """An embedding that is also the decoder, like a masked-LM's."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(12, 6)
        self.middle = nn.Linear(6, 6)
        self.decoder = nn.Linear(6, 12)
        self.decoder.weight = self.embedding.weight
        self.classes = classes

    def forward(self, ids: Tensor) -> Tensor:
        hidden = torch.tanh(self.middle(self.embedding(ids).mean(dim=1)))
        return self.decoder(hidden)[:, : self.classes]


def dense_batch(n: int, inputs: int = 5, seed: int = 1) -> dict[str, Tensor]:
    """N rows of random numbers for ``Mlp`` and ``Direct``."""
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(n, inputs, generator=generator)}


def token_batch(n: int, length: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """N rows of tokens for ``Tied``, among them those that it decodes."""
    generator = torch.Generator().manual_seed(seed)
    return {"ids": torch.randint(0, 12, (n, length), generator=generator)}
