"""Features of spoilt recordings and what runs make of them, on a small corpus of real files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made.media_corpus import (
    ASSEMBLED,
    BEFORE,
    NAME,
    audio_encoder,
    encoders_of,
)

from pipeline.core.errors import MsaError, ParamsError
from pipeline.evaluation.evaluate import evaluate
from pipeline.execution.local import TaskFailure
from pipeline.features.registry import build_encoder
from pipeline.params.params import Params
from pipeline.robustness.conditions import UNTOUCHED, Condition, conditions
from pipeline.robustness.media import extract
from pipeline.robustness.media import sweep as sweeping
from pipeline.robustness.media.extract import Resources, SplitMedia, make_rows
from pipeline.robustness.media.sets import set_with
from pipeline.robustness.media.sweep import Remaking
from pipeline.robustness.robust import Asked, robust
from pipeline.store.store import FeatureStore
from pipeline.training.runs import TrainedRun

QUIET = conditions("mute")  # its draws of all levels


def media_of(params: Params) -> SplitMedia:
    return SplitMedia(ASSEMBLED, NAME, NAME, Path(params.datasets[NAME].root), Path(".state/robust"))


def values(store: FeatureStore) -> dict[str, bytes]:
    found = store.read()
    assert found is not None
    return {name: row.features.tobytes() for name, row in found.rows.items() if row.features is not None}


def test_rows_are_made_once_and_stay(media_project: tuple[Path, Params], here: list[str]) -> None:
    params = media_project[1]
    encoder, media = audio_encoder(params), media_of(params)
    first = [one for one in QUIET if one.draw == 0]
    store = make_rows(encoder, media, "mute", first, Resources(shards=2))
    assert len(here) == len(set(here)) == 4 * 3
    before = values(store)
    here.clear()
    make_rows(encoder, media, "mute", [one for one in QUIET if one.draw < 2], Resources(shards=2))
    assert len(here) == 4 * 3 and all(name.endswith("|1") for name in here)
    here.clear()
    make_rows(encoder, media, "mute", first, Resources(shards=3))
    assert here == []
    after = values(store)
    assert len(after) == 4 * 6 and before.items() <= after.items()


def test_what_decides_a_row_makes_it_again(media_project: tuple[Path, Params], here: list[str]) -> None:
    params = media_project[1]
    media = media_of(params)
    make_rows(audio_encoder(params), media, "white", [Condition("white", "audio", 5.0, 0)], Resources())
    here.clear()
    clip_id = next(iter(media.tasks))
    media.tasks[clip_id] = replace(media.tasks[clip_id], source_sha256="another film")
    make_rows(audio_encoder(params), media, "white", [Condition("white", "audio", 5.0, 0)], Resources())
    assert here == [f"{clip_id}|5|0"]


def test_workers_and_their_order_change_nothing(media_project: tuple[Path, Params]) -> None:
    """In a worker process; and then, clips and levels the other way round, in this one."""
    params = media_project[1]
    asked = [Condition("babble", "audio", 0.0, 0), Condition("babble", "audio", 20.0, 0)]
    media = media_of(params)
    encoder = build_encoder("audio", "sound", params.encoder("audio", "sound"), params.media)
    there = values(make_rows(encoder, media, "babble", asked, Resources()))
    tasks = extract.spoiling_tasks(encoder.limits, media, "babble", asked[::-1], Resources())
    work = extract._row_maker("audio", encoder.name, encoder.params, encoder.limits, "cpu")
    rows = [row for task in reversed(tasks) for row in work(task)]
    assert {row.clip_id: row.features.tobytes() for row in rows if row.features is not None} == there
    for row in rows:
        _, _, names = row.error.partition("babble of ")
        assert len(names.split(", ")) == 6
        assert all(name.startswith("train") for name in names.split(", "))


def test_failures_are_rows_with_a_reason(
    media_project: tuple[Path, Params], here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = media_project[1]
    encoder, media = audio_encoder(params), media_of(params)
    one, two, *_ = media.tasks
    broken = media_project[0] / "broken.mkv"
    broken.write_bytes(b"no film")
    media.tasks[one] = replace(media.tasks[one], clip=replace(media.tasks[one].clip, path=broken))
    media.tasks[two] = replace(media.tasks[two], clip=replace(media.tasks[two].clip, path=None))
    found = make_rows(encoder, media, "mute", QUIET[:1], Resources()).read()
    assert found is not None
    reasons = {name.partition("|")[0]: (row.status, row.error) for name, row in found.rows.items()}
    assert reasons[one][0] == "failed" and "broken.mkv" in reasons[one][1]
    assert reasons[two][0] == "failed" and "missing media" in reasons[two][1]
    assert [status for status, _ in reasons.values()].count("ok") == 2

    def dies(make, tasks, **how):  # type: ignore[no-untyped-def]
        return ((task, TaskFailure("its worker was killed")) for task in tasks)

    monkeypatch.setattr(extract.local, "run", dies)
    found = make_rows(encoder, media, "white", conditions("white")[:1], Resources()).read()
    assert found is not None
    assert {row.error for row in found.rows.values()} == {"transient: its worker was killed"}


def test_an_encoder_that_opens_files_itself_is_found_out(media_project: tuple[Path, Params]) -> None:
    params = media_project[1]
    encoder, media = audio_encoder(params), media_of(params)
    files = {task.clip.clip_id: task.clip for task in media.tasks.values()}

    class OwnReader(type(encoder)):  # type: ignore[misc]
        def encode(self, clip):  # type: ignore[no-untyped-def]
            return super().encode(files[clip.clip_id])

    own = OwnReader("own", encoder.params, encoder.limits)
    task = extract.spoiling_tasks(own.limits, media, "mute", QUIET[:1], Resources())[0]
    (row,) = extract.spoilt_rows(own, lambda clip: np.zeros(1), task)
    assert row.status == "failed" and "opens the file itself" in row.error


# -------------------------------------------------------------------------------------------------- runs
def test_a_run_under_conditions(media_project: tuple[Path, Params], run: TrainedRun, here: list[str]) -> None:
    """The predictions are those of the clips' features made one by one, the clean ones those of the set."""
    params = media_project[1]
    asked = [Condition("mute", "audio", 0.5, 0), Condition("mute", "audio", 1.0, 0)]
    asked.append(Condition("blur", "visual", 2.0, 0))
    found = Remaking(params, encoders_of).sweep([run], asked, ASSEMBLED)
    assert found.remarks == ["as the encoders say"]  # and none on clean features that differ
    assert set(found.predictions[0]) == set(asked[:2])  # it sees nothing
    clean = sweeping._predicted(run, ASSEMBLED)
    half, nothing = (found.predictions[0][one] for one in asked[:2])
    assert not np.array_equal(half, clean)
    assert np.ptp(nothing) < 1e-6 < np.ptp(clean)  # silence is silence
    table = pq.read_table(ASSEMBLED / "test.parquet")
    told = found.told()
    assert set(told) == {"mute"} and told["mute"]["levels"] == [0.25, 0.5, 1.0]
    assert told["mute"]["failed"] == [0, 0, 0] and told["mute"]["silent"] == 0
    assert told["mute"]["face"] == told["mute"]["voiced"] == [None] * 4  # its columns tell of neither
    assert len(found.facts) == (1 + 2) * len(table)


def test_a_set_with_the_same_sequences_is_the_same_set(
    media_project: tuple[Path, Params], run: TrainedRun
) -> None:
    table = pq.read_table(ASSEMBLED / "test.parquet")
    same = {
        row["clip_id"]: np.array(row["audio"], np.float32)
        for row in table.select(["clip_id", "audio"]).to_pylist()
    }
    with set_with(ASSEMBLED, {"audio": same}) as folder:
        assert pq.read_table(folder / "test.parquet").equals(table)
        assert np.array_equal(sweeping._predicted(run, folder), sweeping._predicted(run, ASSEMBLED))
    assert not folder.exists()


def test_a_command_writes_rows_and_a_summary(
    media_project: tuple[Path, Params], run: TrainedRun, here: list[str]
) -> None:
    """The clean rows are those that evaluate wrote; levels are from mild to severe, dB too."""
    evaluate([run.folder], ASSEMBLED, Path("results") / NAME / "audio_only", "mmsa", device="cpu")
    asked = Asked(("mute", "blur", "white"), draws=(0, 1), remaking=Remaking(media_project[1], encoders_of))
    (summary,) = robust([run.folder], asked, device="cpu")
    rows = pq.read_table("robust/made/audio_only.parquet").to_pandas()
    assert len(rows) == 4 * (1 + 3 * 2 + 4 + 6 * 2)
    clean = rows[rows["kind"] == "clean"].set_index("clip_id")["prediction"]
    written = pq.read_table(f"results/{NAME}/audio_only/predictions.parquet").to_pandas()
    assert clean.to_dict() == written.set_index("clip_id")["prediction_1"].to_dict()
    blurred = rows[rows["kind"] == "blur"]
    assert blurred["flat"].all() and not rows[rows["kind"] == "mute"]["flat"].any()
    for clip_id, of_clip in blurred.groupby("clip_id"):
        assert (of_clip["prediction"] == clean[clip_id]).all()
    case = summary["kinds"]["white"]["cases"]["audio"]
    assert case["levels"] == [20, 15, 10, 5, 0, -5]
    errors = [summary["clean"]["mae"][0], *(mean for mean, _ in case["scores"]["mae"])]
    assert case["numbers"]["mae"]["auilc"] == pytest.approx(np.trapezoid(errors) / 6, abs=1e-5)
    assert [kind for kind, of in summary["kinds"].items() if "media" in of] == ["white", "mute"]
    facts = "robust/made/audio_only.media.parquet"
    assert pq.read_metadata(facts).num_rows == 4 * (1 + 3 * 2 + 6 * 2)
    here.clear()
    (again,) = robust([run.folder], replace(asked, kinds=("babble",), draws=(0,)), device="cpu")
    assert set(again["kinds"]) == {*summary["kinds"], "babble"}
    assert again["kinds"]["white"] == summary["kinds"]["white"]
    assert {name.partition("|")[2] for name in here} == {f"{snr:g}|0" for snr in (20, 15, 10, 5, 0, -5)}
    assert pq.read_metadata(facts).num_rows == 4 * (1 + 3 * 2 + 6 * 2 + 6)
    with pytest.raises(ParamsError, match="only by the command"):
        robust([run.folder], Asked(("mute",), draws=(0, 1, 2)), device="cpu")


def test_missing_recordings_end_it(
    media_project: tuple[Path, Params], run: TrainedRun, here: list[str]
) -> None:
    params = media_project[1]
    moved = {NAME: params.datasets[NAME].model_copy(update={"root": "elsewhere"})}
    remaking = Remaking(params.model_copy(update={"datasets": moved}), encoders_of)
    with pytest.raises(MsaError, match=r"audio: 4 of 4 test clips cannot be encoded .* no such file"):
        remaking.sweep([run], QUIET[:1], ASSEMBLED)


def test_other_features_of_clean_clips_are_told(
    media_project: tuple[Path, Params], run: TrainedRun, here: list[str]
) -> None:
    """The set was made of other sounds than the files have now."""
    params = media_project[1]
    root = media_project[0] / "corpus"
    shutil.copytree(Path(params.datasets[NAME].root), root)
    shutil.copy(root / "train0.mkv", root / "test1.mkv")
    moved = params.model_copy(
        update={"datasets": {NAME: params.datasets[NAME].model_copy(update={"root": str(root)})}}
    )
    found = Remaking(moved, encoders_of).sweep([run], QUIET[:1], ASSEMBLED)
    assert "for 1 of 4 test clips" in found.remarks[-1]


def test_clean_rows_are_those_of_the_set(media_project: tuple[Path, Params], here: list[str]) -> None:
    encoder, media = audio_encoder(media_project[1]), media_of(media_project[1])
    found = make_rows(encoder, media, "clean", [UNTOUCHED], Resources()).read()
    assert found is not None
    for row in found.rows.values():
        clip = media.tasks[row.clip_id.partition("|")[0]].clip
        assert row.features is not None
        assert np.array_equal(row.features, encoder.encode(clip).features)


def test_clips_of_the_context_are_spoilt_for_runs_that_read_them(
    media_project: tuple[Path, Params], run: TrainedRun, here: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With noise of their own; the test clips' is that of a sweep without them."""
    condition, seen = Condition("white", "audio", 0.0, 0), []

    def note(run: TrainedRun, folder: Path, wordless: set[str]) -> np.ndarray:
        tables = [pq.read_table(folder / f"{split}.parquet") for split in ("test", "context")]
        seen.append(
            [dict(zip(t["clip_id"].to_pylist(), t["audio"].to_pylist(), strict=True)) for t in tables]
        )
        return np.zeros(len(seen[-1][0]))

    clean = pq.read_table(ASSEMBLED / "context.parquet")["audio"].to_pylist()
    with monkeypatch.context() as patch:
        patch.setattr(sweeping, "_predicted", note)
        remaking = Remaking(media_project[1], encoders_of)
        remaking.sweep([run], [condition], ASSEMBLED)
        assert not any(name.startswith(BEFORE) for name in here)
        run.__dict__["reading"] = replace(run.reading, context=2)
        found = remaking.sweep([run], [condition], ASSEMBLED)
    (alone, untouched), (spoilt, before) = seen
    assert [*untouched.values()] == clean and alone == spoilt
    noisy = np.array(before[BEFORE])
    assert noisy[:, 0].mean() > 1.3 * np.array(clean[0])[:, 0].mean()  # twice the power
    facts = found.facts.to_pandas()
    assert set(facts[facts["clip_id"] == BEFORE]["split"]) == {"context"}
    last = np.array(spoilt["test3$_$1"])  # its file is that of the context's clip
    assert np.abs(noisy[:, 0] - last[:, 0]).max() > 1e-3
