"""A tiny random Whisper, with its tokenizer, and tiny CTC models, saved as the real ones are; made speech."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.core.waveform import SAMPLE_RATE

SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|zh|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
WORDS = "so this is what we say of a small film that you and I have seen today"
LETTERS = "|EATONIHSRDLUMWCFGYPBVK'XJQZ"


def save_tiny_whisper(
    folder: Path, *, seconds: int = 2, seed: int = 0, multilingual: bool = True, positions: int = 40
) -> Path:
    """A Whisper that hears `seconds` at once and says less than `positions` tokens; gives `folder` back."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([WORDS] * 3, vocab_size=400, min_frequency=1, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    trained.save_model(str(folder))
    tokenizer = WhisperTokenizer.from_pretrained(folder, additional_special_tokens=list(SPECIALS))
    tokenizer.save_pretrained(folder)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIALS}
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]

    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=len(tokenizer) + 101,  # and the time tokens
        num_mel_bins=80,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        d_model=16,
        max_source_positions=50 * seconds,
        max_target_positions=positions,
        decoder_start_token_id=start,
        eos_token_id=end,
        bos_token_id=end,
        pad_token_id=end,
        init_std=0.5,  # the usual 0.02 makes all states of so small a model nearly equal
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config)
    languages = {
        "is_multilingual": True,
        "lang_to_id": {name: ids[name] for name in ("<|en|>", "<|zh|>")},
        "task_to_id": {"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
    }
    # bytes that no text of words has would make most of what so random a model says no characters
    odd = [token for piece, token in trained.get_vocab().items() if not piece.replace("Ġ", " ").isascii()]
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        alignment_heads=[[0, 0], [1, 1]],
        suppress_tokens=sorted(odd),
        begin_suppress_tokens=[end],
        **(languages if multilingual else {"is_multilingual": False}),
    )
    model.save_pretrained(folder)
    return folder


def save_tiny_ctc(folder: Path, *, kind: str = "wav2vec2", seed: int = 0) -> Path:
    """A wav2vec 2.0 or HuBERT with a CTC head over `<pad>`, <s>, </s>, <unk> and LETTERS."""
    import torch
    from transformers import HubertConfig, HubertForCTC, Wav2Vec2Config, Wav2Vec2ForCTC

    vocabulary = {piece: index for index, piece in enumerate(["<pad>", "<s>", "</s>", "<unk>", *LETTERS])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    torch.manual_seed(seed)
    configs = {"wav2vec2": (Wav2Vec2Config, Wav2Vec2ForCTC), "hubert": (HubertConfig, HubertForCTC)}
    make_config, make_model = configs[kind]
    config = make_config(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        mask_time_prob=0.3,
        initializer_range=0.3,
    )
    make_model(config).save_pretrained(folder)
    return folder


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Syllables of noise with pauses between, (n,) float32."""
    n = round(seconds * SAMPLE_RATE)
    loud = np.sin(2 * np.pi * 1.3 * np.arange(n) / SAMPLE_RATE) > -0.5
    return (np.random.default_rng(seed).normal(0, 0.1, n) * (loud + 0.01)).astype(np.float32)
