"""Whisper by faster-whisper (extra asr-fast): CTranslate2 computes, on a CPU in int8 if wanted.

The same steps as those of whisper.py, with the same words at nearly the same times: mel spectrograms padded
with 0, greedy decoding without tokens of time, times by dynamic time warping over cross-attention. Its models
have files of their own (model.bin), in which CTranslate2's converter puts those of transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.core.checkpoints import Part, model_folder, model_identity
from pipeline.core.errors import ClipError, FormatError, MissingDependencyError, first_line
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.params.transcribe import Precision
from pipeline.transcripts.whisper import ENGLISH, FRAME_S, HOP, Hearing

PARTS: tuple[Part, ...] = ("config", "ctranslate2")
WINDOW_S = 30
MOST_TOKENS = 224  # of a stretch, half of what the decoder has places for
COMPUTE_TYPES = {"fp32": "float32", "int8": "int8"}
START, TASK, UNTIMED, END = (
    f"<|{name}|>" for name in ("startoftranscript", "transcribe", "notimestamps", "endoftext")
)


@dataclass
class FasterWhisper:
    """A Whisper of CTranslate2; attributes as those of whisper.Whisper.

    Attributes
    ----------
    library : faster_whisper.WhisperModel
    """

    library: Any
    window: int
    languages: dict[str, int]

    def decode(self, tokens: list[int]) -> str:
        """The text of some tokens, with a replacement character for bytes that are none."""
        text: str = self.library.hf_tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def hear(self, sound: np.ndarray, language: str | None) -> Hearing:
        """What is said in at most `window` samples, in a language; None = it is detected."""
        vocabulary, model = self.library.hf_tokenizer, self.library.model
        start, task, untimed, end = map(vocabulary.token_to_id, (START, TASK, UNTIMED, END))
        own = self.library.feature_extractor(sound)[:, : max(1, len(sound) // HOP)]
        mel = np.pad(own, ((0, 0), (0, self.window // HOP - own.shape[1]))).astype(np.float32)
        try:
            encoded = self.library.encode(mel)
            prompt = [start]
            if self.languages:
                language = language or model.detect_language(encoded)[0][0][0].strip("<|>")
                prompt += [self.languages[language], task]
            (said,) = model.generate(
                encoded,
                [[*prompt, untimed]],
                beam_size=1,
                max_length=len(prompt) + 1 + MOST_TOKENS,
                return_scores=True,
                return_no_speech_prob=True,
                suppress_tokens=[-1, *range(end + 1, vocabulary.get_vocab_size())],
            )
            tokens = [token for token in said.sequences_ids[0] if token < end]
            frames = 2 * -(-len(sound) // (2 * HOP))
            (found,) = model.align(encoded, prompt, [tokens], frames) if tokens else (None,)
        except (ValueError, RuntimeError) as error:
            raise ClipError(f"the recognizer failed: {first_line(error)}") from error
        length = len(said.sequences_ids[0])
        mean = said.scores[0] * length / (length + 1)  # the end counts, too
        starts, log_odds = np.zeros(1), np.zeros(0)
        if found is not None:
            rows, columns = np.array(found.alignments).T
            starts = columns[np.flatnonzero(np.diff(rows, prepend=-1))] * FRAME_S
            log_odds = np.log(np.maximum(found.text_token_probs, 1e-30))
        return Hearing(tokens, starts, log_odds, mean, said.no_speech_prob, language or ENGLISH)


def load_faster_whisper(
    model: str, revision: str | None = None, device: str = "cpu", precision: Precision = "fp32"
) -> FasterWhisper:
    """A Whisper in CTranslate2's format; `model` is a folder or a hub id.

    Raises
    ------
    MissingDependencyError : the extra is not installed
    MissingModelError : files are missing
    FormatError : they cannot be read, or are those of another model
    """
    library = _library()
    folder = model_folder(model, revision, PARTS)
    kind, _, index = device.partition(":")
    try:
        found = library.WhisperModel(
            str(folder),
            device=kind,
            device_index=int(index or 0),
            compute_type=COMPUTE_TYPES[precision],
            cpu_threads=1,
        )
        known = found.model.is_multilingual and found.supported_languages
    except Exception as error:  # CTranslate2, tokenizers and JSON each have their own
        raise FormatError(
            f"model {model!r}: {folder} cannot be read as a Whisper of faster-whisper: {first_line(error)}. "
            "Fetch its files again"
        ) from error
    tokens = {code: found.hf_tokenizer.token_to_id(f"<|{code}|>") for code in known or ()}
    languages = {code: token for code, token in tokens.items() if token is not None}
    return FasterWhisper(found, WINDOW_S * SAMPLE_RATE, languages)


def faster_whisper_identity(model: str, revision: str | None) -> str:
    """`hub id@commit`, or the SHA-256 (hex) over a folder's files; errors as those of loading."""
    _library()
    return model_identity(model, revision, PARTS)


def _library() -> Any:
    try:
        import faster_whisper
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"transcribe.asr.engine is faster-whisper, which does not import ({first_line(error)}): "
            "pip install 'msa-pipeline[asr-fast]', or set the engine to transformers"
        ) from error
    return faster_whisper
