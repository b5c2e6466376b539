"""What is read beside feature sequences: context, sound, unlabeled clips, classes; against plain loops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made.tiny_models import save_tiny_bert
from made.tiny_set import DIMS, write_tiny_set

from models.core.backbones import load_tokenizer
from models.core.batch import Reading
from pipeline.core.errors import FormatError
from pipeline.datasets.training_set import TrainingSet

pytestmark = pytest.mark.usefixtures("storage")

COUNTS = {"train": 12, "valid": 6, "test": 7, "unlabeled": 9}
WAVE = 50  # samples that are kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of five clips in a shuffled order, each with 0 to 80 samples of sound."""
    out = write_tiny_set(tmp_path_factory.mktemp("sets") / "tiny", COUNTS)
    random = np.random.default_rng(5)
    for split, count in COUNTS.items():
        table = pq.read_table(out / f"{split}.parquet")
        positions = pa.array([(3 * i) % 5 for i in range(count)], pa.int32())
        table = table.set_column(table.column_names.index("position"), "position", positions)
        pq.write_table(table, out / f"{split}.parquet")
        sound = [random.integers(-(2**15), 2**15, i * 10 % 90).astype(np.int16) for i in range(count)]
        waveform = pa.array([part if len(part) else None for part in sound], pa.list_(pa.int16()))
        pq.write_table(
            pa.table({"clip_id": table["clip_id"], "waveform": waveform}), out / f"{split}.waveform.parquet"
        )
    stats = json.loads((out / "stats.json").read_text())
    (out / "stats.json").write_text(json.dumps({**stats, "waveform": {"sample_rate": 16_000}}))
    return out


def before(folder: Path, split: str, row: int, count: int) -> list[int]:
    """Row numbers of the utterances before a clip, oldest first, found by looking at every clip."""
    table = pq.read_table(folder / f"{split}.parquet", columns=["video_id", "position"]).to_pylist()
    here = table[row]
    earlier = [
        (other["position"], i)
        for i, other in enumerate(table)
        if other["video_id"] == here["video_id"] and other["position"] < here["position"]
    ]
    return [i for _, i in sorted(earlier)][-count:]


@pytest.mark.parametrize("keep", ["first", "last"])
@pytest.mark.parametrize("count", [1, 2])
def test_context_is_the_previous_utterances_of_the_video(folder: Path, keep: str, count: int) -> None:
    reading = Reading(context=count, context_keep=keep)  # type: ignore[arg-type]
    for name, split in TrainingSet.load(folder, reading).splits.items():
        batch = split.batch(torch.arange(len(split)))
        assert batch.context is not None
        alone = 0
        for row in range(len(split)):
            places = before(folder, name, row, count)
            alone += not places
            for modality in DIMS:
                own, part = getattr(batch, modality), getattr(batch.context, modality)
                chain = [own.values[i][own.mask[i]] for i in places]
                wanted = torch.cat(chain) if chain else own.values[0, :0]
                wanted = wanted[-9:] if keep == "last" else wanted[:9]  # 9 = max_steps
                assert torch.equal(part.values[row][part.mask[row]], wanted)
                assert part.present[row].item() == (len(wanted) > 0)
        assert alone > 0  # the first of each video has none


def test_context_of_token_ids_is_cut_at_the_chosen_end(folder: Path, tmp_path: Path) -> None:
    words = ["clip", "number", "says", "something"]
    tokenizer = load_tokenizer(str(save_tiny_bert(tmp_path / "bert", words)))
    for keep, last in (("first", False), ("last", True)):
        reading = Reading(tokenizer, max_tokens=9, context=2, context_keep=keep)  # type: ignore[arg-type]
        split = TrainingSet.load(folder, reading, only=["train"]).splits["train"]
        batch = split.batch(torch.arange(len(split)))
        assert batch.context is not None
        tokens = batch.context.tokens
        assert tokens is not None
        for row in range(len(split)):
            places = before(folder, "train", row, 2)
            assert tokens.present[row].item() == bool(places)
            if not places:
                continue
            text = " [SEP] ".join(f"clip number {i} says something" for i in places)
            full = tokenizer.encode([text], 100)[0]
            inner = full[1:-1][-7:] if last else full[1:-1][:7]
            kept = [full[0], *inner, full[-1]]
            assert tokens.ids[row][tokens.mask[row]].tolist() == kept


def test_sound_is_cut_and_scaled(folder: Path) -> None:
    reading = Reading(waveform=WAVE, context=1)
    data = TrainingSet.load(folder, reading)
    assert "audio" not in data.dims
    for name, split in data.splits.items():
        batch = split.batch(torch.arange(len(split)))
        assert batch.audio is None
        assert batch.waveform is not None
        stored = pq.read_table(folder / f"{name}.waveform.parquet")["waveform"].to_pylist()
        for row, samples in enumerate(stored):
            wanted = np.array(samples or [], np.float32)[:WAVE] / 32768
            assert batch.waveform.values[row][batch.waveform.mask[row]].numpy() == pytest.approx(
                wanted, abs=0
            )
            assert batch.waveform.present[row].item() == (samples is not None)
            assert (batch.waveform.values[row][~batch.waveform.mask[row]] == 0).all()


@pytest.mark.parametrize("keep", ["first", "last"])
def test_context_of_sound_is_an_end_of_all_that_was_said(folder: Path, keep: str) -> None:
    """Not of the first samples of each utterance: those are not what was said just before the clip."""
    reading = Reading(waveform=WAVE, context=2, context_keep=keep)  # type: ignore[arg-type]
    long = 0
    for name, split in TrainingSet.load(folder, reading).splits.items():
        context = split.batch(torch.arange(len(split))).context
        assert context is not None and context.waveform is not None
        stored = pq.read_table(folder / f"{name}.waveform.parquet")["waveform"].to_pylist()
        for row in range(len(split)):
            said = [sample for i in before(folder, name, row, 2) for sample in stored[i] or []]
            wanted = said[-WAVE:] if keep == "last" else said[:WAVE]
            found = context.waveform.values[row][context.waveform.mask[row]]
            assert (found * 32768).tolist() == wanted
            assert context.waveform.present[row].item() == bool(wanted)
            long += any(len(stored[i] or []) > WAVE for i in before(folder, name, row, 2))
    assert long > 3  # utterances of which a part alone is kept


def test_sound_that_was_not_assembled(tmp_path: Path) -> None:
    plain = write_tiny_set(tmp_path / "plain", COUNTS)
    with pytest.raises(FormatError, match=r"has no waveform.*assemble\.<dataset>\.waveform"):
        TrainingSet.load(plain, Reading(waveform=WAVE))


def test_unlabeled_clips_stand_behind_the_labeled_ones(folder: Path) -> None:
    splits = TrainingSet.load(folder, Reading(waveform=WAVE)).splits
    joined = splits["train"].with_unlabeled(splits["unlabeled"])
    assert len(joined) == 12 + 9
    batch = joined.batch(torch.tensor([11, 12, 20, 3]))
    assert batch.labeled.tolist() == [True, False, False, True]
    assert batch.label.isnan().tolist() == [False, True, True, False]  # though the file has labels there
    alone = splits["unlabeled"].batch(torch.tensor([0, 8]))
    for i, row in enumerate((1, 2)):
        for modality in ("text", "visual"):
            one, many = getattr(alone, modality), getattr(batch, modality)
            assert torch.equal(many.values[row][many.mask[row]], one.values[i][one.mask[i]])
        assert alone.waveform is not None
        assert batch.waveform is not None
        ours = batch.waveform.values[row][batch.waveform.mask[row]]
        assert torch.equal(ours, alone.waveform.values[i][alone.waveform.mask[i]])


def test_taken_clips_are_the_same_clips(folder: Path) -> None:
    split = TrainingSet.load(folder, Reading(waveform=WAVE, context=1)).splits["train"]
    rows = torch.tensor([7, 2, 9])
    some, all_of_it = split.take(rows).batch(torch.arange(3)), split.batch(rows)
    assert some.clip_ids == all_of_it.clip_ids
    assert torch.equal(some.label, all_of_it.label)
    for modality in ("text", "visual", "waveform"):
        assert torch.equal(getattr(some, modality).values, getattr(all_of_it, modality).values)
        assert torch.equal(getattr(some.context, modality).mask, getattr(all_of_it.context, modality).mask)


def test_classes_are_the_labels_of_a_classification(tmp_path: Path) -> None:
    folder = write_tiny_set(tmp_path / "classes", COUNTS, classes=("no", "maybe", "yes"))
    data = TrainingSet.load(folder)
    assert sorted(data.splits["train"].label.tolist()) == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
    assert data.splits["train"].labels["label_text"].isnan().all()


def test_sentence_case(folder: Path, tmp_path: Path) -> None:
    class Keeping:
        pad_id, separator = 0, "|"
        seen: list[str] = []  # noqa: RUF012

        def encode(self, texts: list[str], max_length: int, keep: str = "first") -> list[np.ndarray]:
            self.seen += texts
            return [np.array([1, 2]) for _ in texts]

    table = pq.read_table(folder / "train.parquet")
    loud = pa.array([f"I WAS {i}. REALLY" for i in range(12)])
    table = table.set_column(table.column_names.index("transcript"), "transcript", loud)
    copy = tmp_path / "loud"
    copy.mkdir()
    pq.write_table(table, copy / "train.parquet")
    (copy / "stats.json").write_bytes((folder / "stats.json").read_bytes())
    tokenizer = Keeping()
    TrainingSet.load(copy, Reading(tokenizer, sentence_case=True), only=["train"])  # type: ignore[arg-type]
    assert tokenizer.seen[3] == "I was 3. really"


def test_features_that_the_method_does_not_read_do_not_count(folder: Path, tmp_path: Path) -> None:
    """A clip with nothing but these is refused before the training, not after its last epoch."""
    copy = tmp_path / "set"
    shutil.copytree(folder, copy)
    table = pq.read_table(copy / "train.parquet")
    for name in ("text", "audio"):
        values = pa.array([None, *table[name].to_pylist()[1:]], table[name].type)
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, copy / "train.parquet")
    assert TrainingSet.load(copy).splits["train"].streams.keys() == DIMS.keys()
    with pytest.raises(FormatError, match=r"1 clip\(s\) without any of text, audio: train\$_\$0000"):
        TrainingSet.load(copy, Reading(modalities=("text", "audio")), only=("train",))
    scored = TrainingSet.load(copy, Reading(modalities=("text", "audio"), absent=True), only=("train",))
    batch = scored.splits["train"].batch(torch.tensor([1, 0]))
    assert batch.audio is not None and batch.audio.present.tolist() == [True, False]
    nothing = TrainingSet.load(copy, Reading(modalities=(), absent=True), only=("train",)).splits["train"]
    assert nothing.clip_ids == scored.splits["train"].clip_ids and not nothing.streams
    for few_shapes in (False, True):
        (batch,) = nothing.batches([torch.tensor([2, 0])], few_shapes)
        assert batch.text is batch.audio is None and batch.label.shape == (2,)
