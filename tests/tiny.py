"""Tiny masked language models with random weights, made in code and without a network."""

import copy
import functools
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)
from transformers.utils.logging import disable_progress_bar

from tangentlm.models.tokenizers import SPECIAL_TOKENS
from tangentlm.tasks import Example, Task

disable_progress_bar()

ARCHITECTURES = ("roberta", "bert", "distilbert", "albert", "modernbert")
LABEL_WORDS = ("Yes", "Maybe", "No", "great", "terrible")
MAX_POSITIONS = 64
SENTENCES = (
    "the film was great and the food was terrible",
    "a dull plot , a fine cast and a long wait",
    "It was great . It was terrible . This is it ?",
    "Yes , the hotel was small . No , it was not cheap . Maybe we will come back .",
)


@functools.cache
def _tokenizer_json(kind):
    special = [AddedToken(t, lstrip=t == "<mask>", special=True) for t in SPECIAL_TOKENS.values()]
    if kind == "bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=1000,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
    else:
        tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, " " + " ".join(LABEL_WORDS)], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")],
    )
    return tokenizer.to_str()


def tiny_tokenizer(kind="bytes"):
    """A tokenizer in which every label word is one token; ``kind`` is "bytes" or "words"."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json(kind)),
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=MAX_POSITIONS,
        **SPECIAL_TOKENS,
    )


def tiny_config(arch, kind="bytes"):
    """The configuration of a model of two layers and two heads for the tiny tokenizer."""
    tokenizer = tiny_tokenizer(kind)
    common = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": 0.2,
        "attn_implementation": "eager",
    }
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    if arch == "roberta":
        # RoBERTa numbers its positions from the padding token's id on.
        positions = MAX_POSITIONS + tokenizer.pad_token_id + 1
        return RobertaConfig(**{**common, **sizes, "max_position_embeddings": positions})
    if arch == "bert":
        return BertConfig(**common, **sizes)
    if arch == "distilbert":
        return DistilBertConfig(**common, dim=16, hidden_dim=24, n_layers=2, n_heads=2)
    if arch == "albert":
        return AlbertConfig(**common, **sizes, embedding_size=8)
    if arch == "modernbert":
        return ModernBertConfig(
            **common,
            **sizes,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            global_attn_every_n_layers=2,
            local_attention=8,
        )
    raise KeyError(arch)


def tiny_masked_lm(arch, tie=True, seed=0, kind="bytes"):
    """A masked-LM in eval mode, all biases and norms away from their zeros and ones."""
    return copy.deepcopy(_tiny_masked_lm(arch, tie, seed, kind))


@functools.cache  # made once; a test gets a copy
def _tiny_masked_lm(arch, tie, seed, kind):
    config = tiny_config(arch, kind)
    config.tie_word_embeddings = tie
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForMaskedLM.from_config(config, attn_implementation="eager")
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def save_tiny(folder, arch, tie=True, seed=0, kind="bytes"):
    """Save a tiny model with its tokenizer; what comes back is a name for ``load_model``."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    tiny_masked_lm(arch, tie, seed, kind).save_pretrained(folder)
    tiny_tokenizer(kind).save_pretrained(folder)
    return str(folder)


def tiny_task(pair=False, **changes):
    """A task whose label words the tiny tokenizer knows: sentiment, or inference for pairs."""
    values = {
        "name": "tiny",
        "title": "Tiny",
        "labels": ("negative", "positive"),
        "template": "{text_a} It was {mask} .",
        "label_words": ("terrible", "great"),
        "max_length": MAX_POSITIONS,
    }
    if pair:
        values |= {
            "labels": ("entailment", "neutral", "contradiction"),
            "template": "{text_a} ? {mask} , {text_b}",
            "label_words": ("Yes", "Maybe", "No"),
        }
    return Task(**{**values, **changes})


def tiny_examples(pair=False, count=6):
    """Examples of different lengths, made of the words that the tiny tokenizer knows."""
    words = " ".join(SENTENCES).split()
    classes = 3 if pair else 2
    return [
        Example(
            " ".join(words[i : 2 * i + 3]),
            " ".join(words[2 * i : 3 * i + 2]) if pair else None,
            i % classes,
        )
        for i in range(count)
    ]
