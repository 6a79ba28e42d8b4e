"""Small random models and batches, made in milliseconds, shared by several test files."""

from __future__ import annotations

import copy
import functools
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn

VOCABULARY = 40
PAD, MASK = 1, 4
LABEL_WORDS = (7, 9, 11)
ARCHITECTURES = ("roberta", "bert", "distilbert", "albert", "modernbert")
CAUSAL_ARCHITECTURES = ("gpt2", "llama")


def masked_lm(architecture: str, seed: int = 0, tied: bool = True) -> nn.Module:
    """A masked-LM of transformers with hidden size 16, in eval mode."""
    model = copy.deepcopy(_masked_lm(architecture, seed, tied))
    torch.manual_seed(seed)  # what a test draws next depends on no other test
    return model


@functools.cache  # made once; a test gets a copy
def _masked_lm(architecture: str, seed: int, tied: bool) -> nn.Module:
    import transformers as tf

    torch.manual_seed(seed)
    general = {
        "vocab_size": VOCABULARY, "max_position_embeddings": 32, "pad_token_id": PAD,
        "attn_implementation": "eager", "initializer_range": 0.2, "tie_word_embeddings": tied,
    }  # fmt: skip
    common = {
        **general, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 24,
    }  # fmt: skip
    if architecture == "roberta":
        return tf.RobertaForMaskedLM(tf.RobertaConfig(**common, type_vocab_size=1)).eval()
    if architecture == "bert":
        return tf.BertForMaskedLM(tf.BertConfig(**common)).eval()
    if architecture == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
        return tf.DistilBertForMaskedLM(tf.DistilBertConfig(**general, **sizes)).eval()
    if architecture == "albert":
        # Both layers share their parameters.
        return tf.AlbertForMaskedLM(tf.AlbertConfig(**common, embedding_size=8)).eval()
    if architecture != "modernbert":
        raise KeyError(architecture)
    special = {"bos_token_id": 0, "cls_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
    windows = {"global_attn_every_n_layers": 2, "local_attention": 4}
    config = tf.ModernBertConfig(**common, **special, **windows, initializer_cutoff_factor=2.0)
    return tf.ModernBertForMaskedLM(config).eval()


def prompt_model(
    architecture: str = "roberta", classes: int = 2, seed: int = 0, tied: bool = True
) -> nn.Module:
    """A small masked-LM that reads out its label words at the mask, in eval mode."""
    from tangentlm.models.heads import PromptModel

    return PromptModel(masked_lm(architecture, seed, tied), list(LABEL_WORDS[:classes])).eval()


class LastToken(nn.Module):
    """The logits of the label words that a causal LM gives after the last token."""

    def __init__(self, causal_lm: nn.Module, classes: int = 3) -> None:
        super().__init__()
        self.causal_lm = causal_lm
        self.classes = classes

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits = self.causal_lm(input_ids=input_ids, attention_mask=attention_mask).logits
        last = attention_mask.cumsum(1).argmax(1)
        return logits[torch.arange(len(logits)), last][:, list(LABEL_WORDS[: self.classes])]


def causal_model(
    architecture: str, classes: int = 3, seed: int = 0, tied: bool = True
) -> nn.Module:
    """A causal LM with hidden size 16, read out after the last token, in eval mode."""
    import transformers as tf

    torch.manual_seed(seed)
    common = {
        "vocab_size": VOCABULARY, "attn_implementation": "eager", "initializer_range": 0.2,
        "pad_token_id": PAD, "bos_token_id": 0, "eos_token_id": 2, "tie_word_embeddings": tied,
    }  # fmt: skip
    if architecture == "gpt2":
        # Its projections are stored the other way round (Conv1D).
        sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
        lm = tf.GPT2LMHeadModel(tf.GPT2Config(**common, **sizes))
    elif architecture == "llama":
        # Root-mean-square norms, rotary positions, shared keys and values, and no biases.
        config = tf.LlamaConfig(
            **common, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=24, max_position_embeddings=32,
        )  # fmt: skip
        lm = tf.LlamaForCausalLM(config)
    else:
        raise KeyError(architecture)
    return LastToken(lm, classes).eval()


def roughen(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move biases from zero and the scales of norms from one, where a mistake could hide."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def with_lora(
    model: nn.Module, targets: object, zero: bool = False, seed: int = 0, **options: object
) -> nn.Module:
    """A model with adapters of rank 2, which alone require a gradient; the second is not zero."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=3, lora_dropout=0.1, target_modules=targets, **options)
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name and not zero:
                parameter.normal_(std=0.3)
    return adapted.eval()


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


class Attention(nn.Module):
    """Self-attention by torch's own module, with a bias for keys that the model adds itself."""

    def __init__(self, classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(12, 8)
        self.keys = nn.Parameter(torch.randn(8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, classes)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        # The model's own attention, in front of the module's.
        weights = (x @ (x.sin() + self.keys).transpose(1, 2)).softmax(dim=2)
        x = weights @ x
        x = self.attention(x, x, x, need_weights=False)[0]
        return self.head(torch.tanh(x).mean(dim=1))


def text_batch(lengths: tuple[int, ...] = (9, 5, 7, 6), seed: int = 1) -> dict[str, Tensor]:
    """The rows of ``prompt_batch`` for a model that reads no mask."""
    batch = prompt_batch(lengths, seed)
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def dense_batch(n: int, inputs: int = 5, seed: int = 1) -> dict[str, Tensor]:
    """N rows of random numbers for ``Mlp`` and ``Direct``."""
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(n, inputs, generator=generator)}


def token_batch(n: int, length: int = 4, seed: int = 1) -> dict[str, Tensor]:
    """N rows of tokens for ``Tied``, among them those that it decodes."""
    generator = torch.Generator().manual_seed(seed)
    return {"ids": torch.randint(0, 12, (n, length), generator=generator)}
