"""What was said before a clip, a second test split, token ids in place of text: assembled, read, scored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from made.stored import assemble
from made.tiny_models import save_tiny_bert, save_tiny_roberta
from made.tiny_set import write_tiny_set
from test_assemble import noise, store

from models import METHODS, MethodEntry
from models.core.backbones import Tokenizer, load_tokenizer
from models.core.batch import Batch, Reading
from pipeline.core.errors import FormatError
from pipeline.corpora.clips import METADATA_KEY, ClipFacts, clip_table
from pipeline.datasets.training_set import TrainingSet
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.metrics import METRIC_SETS
from pipeline.params.assemble import AssembleParams
from pipeline.params.params import TrainParams
from pipeline.params.run import RunConfig
from pipeline.store.shard import Features, write_rows
from pipeline.store.store import FeatureStore
from pipeline.training.loop.train import train

SPOKEN = {  # clip id -> split, place in its video, words
    "a$_$1": ("context", 0, "you really liked it"),
    "a$_$2": ("context", 1, "it was a movie"),
    "a$_$3": ("train", 2, "i hated the movie"),
    "b$_$1": ("context", 0, None),
    "b$_$2": ("train", 1, "it was not good"),
    "c$_$1": ("train", 0, "really bad"),
    "c$_$2": ("train", 1, "the movie was good"),
    "d$_$1": ("context", 0, "you hated it"),
    "d$_$2": ("test", 1, "you liked the movie"),
    "e$_$1": ("valid", 0, "good"),
    "f$_$1": ("test_ood", 0, "not a bad movie"),
    "f$_$2": ("test_ood", 1, "i liked it"),
}
BEFORE = {  # by hand: at most two utterances of the same video, oldest first
    "train": {"a$_$3": ["a$_$1", "a$_$2"], "b$_$2": ["b$_$1"], "c$_$1": [], "c$_$2": ["c$_$1"]},
    "valid": {"e$_$1": []},
    "test": {"d$_$2": ["d$_$1"]},
    "test_ood": {"f$_$1": [], "f$_$2": ["f$_$1"]},
}
EVERY = tuple(BEFORE)
SETTINGS = {
    "dataset": "talk",
    "text": "talk/text",
    "audio": "talk/audio",
    "max_steps": {"text": 12, "audio": 12, "visual": 12},
    "normalize": [],
}


def features(tokenizer: Tokenizer | None = None) -> dict[str, Features]:
    """Five text and seven audio frames a clip; with a tokenizer, one text row a token of what is said."""
    text: dict[str, Any] = {}
    ids: dict[str, np.ndarray] = {}
    for clip_id, (_, _, words) in SPOKEN.items():
        if tokenizer is not None and words is not None:
            ids[clip_id] = tokenizer.encode([words], 50)[0]
        text[clip_id] = noise(len(ids.get(clip_id, range(5))), 4).astype(np.float16)
    text_store = store("text", [f"h_{i}" for i in range(4)], text)
    for clip_id, found in ids.items():
        text_store.rows[clip_id].token_ids = found
    audio = store("audio", ["f0", "mfcc_0", "mfcc_1"], {clip_id: noise(7, 3) for clip_id in SPOKEN})
    return {"text": text_store, "audio": audio}


def clips() -> pa.Table:
    table = clip_table(
        {
            "clip_id": clip_id,
            "video_id": clip_id[0],
            "position": position,
            "split": split,
            "label": None if split == "context" else 1.0,
            "language": "en",
            "status": "ok",
        }
        for clip_id, (split, position, _) in SPOKEN.items()
    )
    return table.replace_schema_metadata({METADATA_KEY: ClipFacts("talk", "en", (-3.0, 3.0)).to_json()})


def made(
    out: Path,
    chosen: dict[str, Features],
    waveform: FeatureStore | None = None,
    silent: tuple[str, ...] = (),
) -> Path:
    """The set, assembled; the clips in `silent` have no transcript."""
    spoken = [None if clip_id in silent else words for clip_id, (_, _, words) in SPOKEN.items()]
    transcripts = pa.table({"clip_id": list(SPOKEN), "text": pa.array(spoken, pa.string())})
    settings = SETTINGS | ({"waveform": "talk/sound"} if waveform is not None else {})
    assemble(clips(), transcripts, chosen, AssembleParams.model_validate(settings), out, "talk", waveform)
    return out


def whole(folder: Path, reading: Reading, name: str) -> Batch:
    split = TrainingSet.load(folder, reading, only=EVERY).splits[name]
    return split.batch(torch.arange(len(split)))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(str(save_tiny_bert(tmp_path_factory.mktemp("models") / "bert")))


# ------------------------------------------------------------------------------------------------- context
def test_features_of_what_was_said_before(tmp_path: Path) -> None:
    chosen = features()
    folder = made(tmp_path / "set", chosen)
    for name, wanted in BEFORE.items():
        batch = whole(folder, Reading(context=2), name)
        assert batch.clip_ids == list(wanted)  # what was said before is never a clip itself
        assert batch.context is not None
        for modality, rows in chosen.items():
            found, own = getattr(batch.context, modality), getattr(batch, modality)
            for row, (clip_id, earlier) in enumerate(wanted.items()):
                chain = [rows.rows[other].features for other in earlier]
                expected = np.concatenate(chain)[-12:] if chain else np.zeros((0, rows.meta["dim"]))
                values = found.values[row][found.mask[row]].numpy()
                np.testing.assert_array_equal(values, expected.astype(np.float32))
                np.testing.assert_array_equal(
                    own.values[row][own.mask[row]].numpy(), rows.rows[clip_id].features.astype(np.float32)
                )


def test_a_shorter_context_takes_the_nearest_utterance(tmp_path: Path) -> None:
    chosen = features()
    batch = whole(made(tmp_path / "set", chosen), Reading(context=1), "train")
    assert batch.context is not None and batch.context.audio is not None
    found = batch.context.audio.values[0][batch.context.audio.mask[0]].numpy()
    np.testing.assert_array_equal(found, chosen["audio"].rows["a$_$2"].features)


def test_tokens_of_what_was_said_before(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = made(tmp_path / "set", features())
    for name, wanted in BEFORE.items():
        batch = whole(folder, Reading(tokenizer, context=2), name)
        assert batch.context is not None
        tokens = batch.context.tokens
        assert tokens is not None
        for row, earlier in enumerate(wanted.values()):
            words = [SPOKEN[other][2] for other in earlier]
            text = " [SEP] ".join(part for part in words if part is not None)
            expected = tokenizer.encode([text], 50)[0].tolist() if text else []
            assert tokens.ids[row][tokens.mask[row]].tolist() == expected
            assert tokens.present[row].item() == bool(text)


def sound(folder: Path) -> tuple[FeatureStore, dict[str, np.ndarray]]:
    """A waveform store in which one utterance and one clip are silent."""
    samples: dict[str, Any] = {
        clip_id: np.arange(10 * row, 10 * row + 5, dtype=np.int16).reshape(-1, 1)
        for row, clip_id in enumerate(SPOKEN)
    }
    for silent in ("a$_$1", "c$_$2"):
        samples[silent] = "absent"
    found = store("audio", ["sample"], samples)
    found.meta |= {"dtype": "int16", "frame_rate": 16_000}
    write_rows(folder / "shard-000.parquet", found.rows.values(), found.meta)
    return FeatureStore(folder), {k: v[:, 0] for k, v in samples.items() if not isinstance(v, str)}


def test_sound_of_what_was_said_before(tmp_path: Path) -> None:
    waveform, samples = sound(tmp_path / "sound")
    folder = made(tmp_path / "set", features(), waveform)
    nothing = np.zeros(0, np.int16)
    for name, wanted in BEFORE.items():
        batch = whole(folder, Reading(waveform=4, context=2, context_keep="first"), name)
        assert batch.context is not None and batch.waveform is not None
        heard = batch.context.waveform
        assert heard is not None
        for row, (clip_id, earlier) in enumerate(wanted.items()):
            chain = np.concatenate([nothing, *(samples.get(other, nothing)[:4] for other in earlier)])[:4]
            assert (heard.values[row][heard.mask[row]] * 32768).tolist() == chain.tolist()
            own = batch.waveform.values[row][batch.waveform.mask[row]] * 32768
            assert own.tolist() == samples.get(clip_id, nothing)[:4].tolist()


def test_a_set_without_unlabeled_clips_loads_all_its_splits_with_sound(tmp_path: Path) -> None:
    waveform, _ = sound(tmp_path / "sound")
    data = TrainingSet.load(made(tmp_path / "set", features(), waveform), Reading(waveform=4))
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 4,
        "valid": 1,
        "test": 1,
        "unlabeled": 0,
    }


def test_methods_without_context_see_nothing_of_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "set", features())
    data = TrainingSet.load(folder, only=("train", "valid", "test", "unlabeled", "test_ood", "context"))
    assert list(data.splits) == ["train", "valid", "test", "unlabeled", "test_ood"]
    assert data.splits["train"].clip_ids == list(BEFORE["train"])
    assert data.splits["train"].context is None
    stats = json.loads((folder / "stats.json").read_text())
    assert stats["counts"]["context"] == {"clips": 4, "text": 4, "audio": 4}
    assert stats["left_out"] == {}  # though they have no label


def test_context_rows_are_no_part_of_the_statistics(tmp_path: Path) -> None:
    chosen = features()
    for clip_id in ("a$_$1", "a$_$2", "b$_$1", "f$_$1"):
        chosen["audio"].rows[clip_id].features[:] = 1e6
    params = AssembleParams.model_validate({**SETTINGS, "normalize": ["audio"]})
    transcripts = pa.table({"clip_id": list(SPOKEN), "text": pa.nulls(len(SPOKEN), pa.string())})
    assemble(clips(), transcripts, chosen, params, tmp_path / "set", "talk")
    entry = json.loads((tmp_path / "set" / "stats.json").read_text())["modalities"]["audio"]
    frames = np.concatenate([chosen["audio"].rows[clip_id].features for clip_id in BEFORE["train"]])
    np.testing.assert_allclose(entry["mean"], frames.mean(axis=0), rtol=1e-5)


# --------------------------------------------------------------------------------------------- token ids
def same(one: Batch, other: Batch) -> None:
    for left, right in ((one.tokens, other.tokens), (one.context.tokens, other.context.tokens)):  # type: ignore[union-attr]
        assert left is not None and right is not None
        assert torch.equal(left.ids, right.ids) and torch.equal(left.mask, right.mask)
        assert torch.equal(left.present, right.present)


@pytest.mark.parametrize("model", ["bert", "roberta", "minilm"])
@pytest.mark.parametrize("max_tokens", [6, 50])
def test_token_ids_give_the_batches_that_the_text_gives(
    tmp_path: Path, tokenizer: Tokenizer, model: str, max_tokens: int
) -> None:
    if model == "minilm":
        tokenizer = load_tokenizer(model)
    elif model == "roberta":
        tokenizer = load_tokenizer(str(save_tiny_roberta(tmp_path / "roberta")))
    chosen = features(tokenizer)
    spoken, silent = (
        made(tmp_path / "spoken", chosen),
        made(tmp_path / "silent", chosen, silent=tuple(SPOKEN)),
    )
    assert "token_ids" not in json.loads((spoken / "stats.json").read_text())
    assert json.loads((silent / "stats.json").read_text())["token_ids"] == 11  # b$_$1 said nothing
    reading = Reading(tokenizer, max_tokens=max_tokens, context=2)
    for name in EVERY:
        same(whole(spoken, reading, name), whole(silent, reading, name))


def test_token_ids_only_of_clips_without_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = made(tmp_path / "set", features(tokenizer), silent=("c$_$1",))
    table = pq.read_table(folder / "train.parquet", columns=["clip_id", "token_ids"]).to_pydict()
    ids = tokenizer.encode(["really bad"], 50)[0].tolist()
    assert dict(zip(table["clip_id"], table["token_ids"], strict=True)) == {
        "a$_$3": None,
        "b$_$2": None,
        "c$_$1": ids,
        "c$_$2": None,
    }


@pytest.mark.parametrize("mine", ["bert", "minilm"])
def test_token_ids_of_another_vocabulary_are_refused(tmp_path: Path, tokenizer: Tokenizer, mine: str) -> None:
    known = {"bert": tokenizer, "minilm": load_tokenizer("minilm")}
    wanted = known.pop(mine)
    (foreign,) = known.values()
    folder = made(tmp_path / "set", features(foreign), silent=tuple(SPOKEN))
    assert whole(folder, Reading(foreign), "train").tokens is not None
    with pytest.raises(FormatError, match="not from this encoder's vocabulary"):
        whole(folder, Reading(wanted), "train")


@pytest.mark.parametrize("length", range(3, 40))
def test_ids_that_were_cut_anywhere_are_known_again(length: int) -> None:
    tokenizer = load_tokenizer("minilm")
    text = (
        "I do not THINK so... un-be-liev-able \U0001f926 café (umm) they 're unbelievably antediluvian $3.50"
    )
    ids = tokenizer.encode([text], length)[0]
    again = tokenizer.encode([tokenizer.decode(ids)], length)[0]
    full = tokenizer.encode([text], 100)[0]
    halved = (
        len(ids) < len(full) and tokenizer._tokenizer.convert_ids_to_tokens(int(full[length - 1]))[:2] == "##"
    )
    if not halved:  # a word of which only the first pieces are left may be split anew
        assert again.tolist() == ids.tolist()


# ------------------------------------------------------------------------------------- a second test split
@pytest.fixture
def _tiny_method() -> Iterator[None]:
    METHODS["tiny"] = MethodEntry("made.tiny_set")
    yield
    del METHODS["tiny"]


@pytest.mark.usefixtures("_tiny_method")
def test_the_second_test_split_is_scored_beside_the_first(tmp_path: Path) -> None:
    counts = {"train": 40, "valid": 12, "test": 14, "unlabeled": 0, "test_ood": 11}
    folder = write_tiny_set(tmp_path / "set", counts)
    train(
        RunConfig(
            method_name="tiny",
            dataset="tiny",
            seed=3,
            method_params={"training": {"epochs": 2}},
            train_params=TrainParams(),
            assembled=folder,
            pretrained=tmp_path / "pretrained",
            out=tmp_path / "run",
        ),
        device="cpu",
        state_root=tmp_path / "state",
        logs=tmp_path / "logs",
    )
    out = tmp_path / "with"
    found = evaluate([tmp_path / "run"], folder, out, "mmsa", device="cpu")
    (result,) = found["runs"]
    for name in ("mae", "corr", "acc2_non0", "f1_non0"):
        assert found[f"test_ood_{name}"] == {"mean": result["test_ood"][name], "sd": None}
    assert result["n"] == {"test": 14, "valid": 12, "test_ood": 11}

    table = pq.read_table(out / "predictions.parquet").to_pandas()
    assert list(table.columns) == ["split", "clip_id", "video_id", "speaker", "label", "prediction_3"]
    assert table["split"].tolist() == ["test"] * 14 + ["test_ood"] * 11
    labels = pq.read_table(folder / "test_ood.parquet", columns=["clip_id", "label"]).to_pandas()
    ood = table[table["split"] == "test_ood"]
    assert ood["clip_id"].tolist() == labels["clip_id"].tolist()
    assert ood["label"].tolist() == labels["label"].tolist()
    scores = METRIC_SETS["mmsa"](ood["prediction_3"].to_numpy(), ood["label"].to_numpy())
    assert result["test_ood"] == {key: round(value, 6) for key, value in scores.items()}
    median = np.median(pq.read_table(folder / "train.parquet")["label"].to_numpy())
    assert result["floor"]["test_ood_mae"] == pytest.approx(np.abs(labels["label"] - median).mean(), abs=1e-6)

    (folder / "test_ood.parquet").unlink()  # the first test split and all else are as without
    (alone,) = evaluate([tmp_path / "run"], folder, out, "mmsa", device="cpu")["runs"]
    assert alone["test"] == result["test"] and alone["valid"] == result["valid"]
    assert "test_ood" not in {*alone, *alone["n"]} and "test_ood_mae" not in alone["floor"]
    assert set(pq.read_table(out / "predictions.parquet")["split"].to_pylist()) == {"test"}
