"""Transformer encoders of sound and of text at full size with random weights (`make bench`).

On CPU: how much faster than real time one core is, and what padding would cost. On a GPU: clips a second
through `prepare` and `infer` in batches, against one clip at a time, and how near the numbers come to those
of the CPU. Sound and words are made here, so that nothing has to decode media.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from timing import Rounds

from pipeline.core.waveform import SAMPLE_RATE
from pipeline.execution.gpu import Prepared
from pipeline.features.audio.hf_audio import AudioStates
from pipeline.features.encoder import BatchEncoder, Clip, Encoded
from pipeline.features.text.hf import TransformerStates
from pipeline.params.encoders import TransformerAudio, TransformerText
from pipeline.params.params import MediaLimits

pytestmark = pytest.mark.benchmark

CLIPS, SHORTEST_S, LONGEST_S = 32, 2.0, 8.0
GPU_CLIPS = 1024
BATCH = 64  # clips on a GPU
ROUNDS = 1  # after one to warm up
PADDING_COSTS = 1.4  # at least so much faster are unpadded clips on CPU
FASTER_THAN_LIFE = 3.0  # at least, on one core with bf16 of its own


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HuBERT base: 95 million weights, 768 wide, 12 layers."""
    from transformers import HubertConfig, HubertModel

    folder = tmp_path_factory.mktemp("hubert")
    torch.manual_seed(0)
    HubertModel(HubertConfig()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BERT base: 110 million weights, 768 wide, 12 layers; with a vocabulary of as many words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += [f"w{i}" for i in range(config.vocab_size - len(pieces))]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    BertTokenizer(tokenizer_object=tokenizer, do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


def sounds(clips: int) -> list[np.ndarray]:
    """Noise of 2 to 8 seconds, each (n_samples,), float32."""
    random = np.random.default_rng(0)
    lengths = (random.uniform(SHORTEST_S, LONGEST_S, clips) * SAMPLE_RATE).astype(int)
    return [random.normal(0, 0.1, length).astype(np.float32) for length in lengths]


def texts(clips: int) -> list[str]:
    """4 to 60 words: utterances of MOSI have 12 on average, few have more than 50."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.gamma(2.0, 7.0, clips), 4, 60).astype(int)
    return [" ".join(f"w{i}" for i in random.integers(0, 30_000, length)) for length in lengths]


def audio(folder: Path, device: str, precision: str = "bf16") -> AudioStates:
    encoder = AudioStates(
        "hubert", TransformerAudio(model=str(folder), precision=precision), MediaLimits(), device
    )
    encoder.load()
    return encoder


def text(folder: Path, device: str, precision: str = "bf16") -> TransformerStates:
    params = TransformerText(model=str(folder), precision=precision)
    encoder = TransformerStates("bert", params, MediaLimits(), device)
    encoder.load()
    return encoder


# ------------------------------------------------------------------------------------------------------ CPU
def test_one_core_and_what_padding_costs(hubert: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = audio(hubert, "cpu")
    source = encoder.sources[0]
    heard = sounds(CLIPS)
    prepared = [encoder.prepare_sound(sound, source) for sound in heard]
    longest = max(one.steps for one in prepared)
    backbone = encoder.backbone(source)

    def one_by_one() -> None:
        for one in prepared:
            encoder.infer([one])

    def padded() -> None:
        """Batches of eight, padded to the longest of all, as a script without sorting does it."""
        with torch.inference_mode():
            for begin in range(0, CLIPS, 8):
                batch = np.zeros((8, longest), np.float32)
                for row, one in zip(batch, prepared[begin : begin + 8], strict=True):
                    row[: one.steps] = one.content.samples
                backbone(list(batch))

    rounds = Rounds({"one by one": one_by_one, "padded": padded}).run(ROUNDS)
    seconds = sum(len(sound) for sound in heard) / SAMPLE_RATE
    alone = rounds.median("one by one")
    ratio = rounds.ratio("padded", "one by one")
    with capsys.disabled():
        print(
            f"\nhubert-base, bf16, one core: {seconds:.0f} s of sound in {alone:.1f} s, "
            f"{seconds / alone:.1f} times real time; padded to the longest {rounds.median('padded'):.1f} s, "
            f"so unpadded is {ratio:.2f} times as fast ({rounds.load:.1f} cores taken by others)"
        )
    rounds.hold(ratio >= PADDING_COSTS, f"unpadded {ratio:.2f} times as fast, expected {PADDING_COSTS}")
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        faster = seconds / alone
        rounds.hold(faster >= FASTER_THAN_LIFE, f"{faster:.1f} times real time, expected {FASTER_THAN_LIFE}")


# ------------------------------------------------------------------------------------------------------ GPU
def batches(prepared: list[Prepared]) -> Iterator[list[Prepared]]:
    """Neighbours in length together, the longest first, so that memory is taken once."""
    ranked = sorted(prepared, key=lambda one: one.steps, reverse=True)
    for begin in range(0, len(ranked), BATCH):
        yield ranked[begin : begin + BATCH]


def seconds_of(work: Callable[[], object]) -> float:
    """Median on the clock, until the GPU is done; the first run loads kernels and does not count."""
    found = []
    for _ in range(1 + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def rows(encoder: BatchEncoder, prepared: list[Prepared]) -> list[np.ndarray]:
    """Features of clips in one call of `infer`, float64."""
    outcomes = encoder.infer(prepared)
    assert all(isinstance(outcome, Encoded) for outcome in outcomes)
    return [outcome.features.astype(np.float64) for outcome in outcomes if isinstance(outcome, Encoded)]


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["hubert", "bert"])
def test_clips_a_second_on_a_gpu(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    folder = request.getfixturevalue(kind)
    encoder: BatchEncoder
    start = time.perf_counter()
    if kind == "hubert":
        encoder = audio(folder, "cuda")
        loaded = time.perf_counter()
        prepared = [encoder.prepare_sound(sound, encoder.sources[0]) for sound in sounds(GPU_CLIPS)]
    else:
        encoder = text(folder, "cuda")
        loaded = time.perf_counter()
        prepared = [encoder.prepare(Clip(str(i), text=words)) for i, words in enumerate(texts(GPU_CLIPS))]
    preparing = time.perf_counter() - loaded
    together = seconds_of(lambda: [encoder.infer(batch) for batch in batches(prepared)])
    alone = seconds_of(lambda: [encoder.infer([one]) for one in prepared[:BATCH]]) * GPU_CLIPS / BATCH
    unsorted = seconds_of(
        lambda: [encoder.infer(prepared[begin : begin + BATCH]) for begin in range(0, GPU_CLIPS, BATCH)]
    )
    steps = sum(one.steps for one in prepared)
    unit = (
        f"{steps / SAMPLE_RATE / together:.0f} times real time"
        if kind == "hubert"
        else (f"{steps / together:.0f} tokens a second")
    )
    with capsys.disabled():
        print(
            f"\n{kind}-base, bf16, {torch.cuda.get_device_name()}: {GPU_CLIPS / together:.0f} clips a second "
            f"in sorted batches of {BATCH} ({unit}); unsorted {GPU_CLIPS / unsorted:.0f}, one by one "
            f"{GPU_CLIPS / alone:.0f}; loading {loaded - start:.1f} s, preparing on one core "
            f"{GPU_CLIPS / preparing:.0f} clips a second; {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        )
    assert together < alone


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["hubert", "bert"])
def test_a_gpu_gives_what_the_cpu_gives(
    kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """1e-3 in fp32 and a cosine of 0.999 in bf16, of padded batches to clips alone on CPU in fp32."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    folder = request.getfixturevalue(kind)
    make = audio if kind == "hubert" else text

    def prepared(encoder: BatchEncoder) -> list[Prepared]:
        if isinstance(encoder, AudioStates):
            return [encoder.prepare_sound(sound, encoder.sources[0]) for sound in sounds(6)]
        return [encoder.prepare(Clip(str(i), text=words)) for i, words in enumerate(texts(24))]

    cpu = make(folder, "cpu", "fp32")
    expected = [rows(cpu, [one])[0] for one in prepared(cpu)]
    for precision in ("fp32", "bf16"):
        gpu = make(folder, "cuda", precision)
        found = rows(gpu, prepared(gpu))
        apart = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
        cosines = [
            (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
            for a, b in zip(found, expected, strict=True)
        ]
        lowest = min(float(some.min()) for some in cosines)
        with capsys.disabled():
            print(f"\n{kind}-base, {precision} on GPU: {apart:.1e} apart, lowest cosine {lowest:.5f}")
        if precision == "fp32":
            scale = max(float(np.abs(b).max()) for b in expected)
            assert apart <= 1e-3 + scale * 2**-10  # and half a step of float16 for either
        assert lowest > 0.999
