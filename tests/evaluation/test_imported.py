"""Predictions of other systems: scored as scikit-learn does, every flaw of a file told, read as runs are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made.tiny_set import write_tiny_set
from sklearn.metrics import accuracy_score, f1_score

from pipeline.core.errors import LabelFileError, MsaError, ParamsError
from pipeline.core.git import open_revision
from pipeline.evaluation.comparison import compare_sets
from pipeline.evaluation.evaluate import least_scores
from pipeline.evaluation.imported import ImportedPredictions, import_predictions
from pipeline.evaluation.saved import is_imported, read_results

CLASSES = ("sad", "Calm", "glad")
COUNTS = {"train": 12, "valid": 4, "test": 10, "unlabeled": 0}
CLIPS = [f"test$_${i:04d}" for i in range(10)]
Rows = Sequence[Sequence[object]]


class Case:
    """A set, a file of predictions for it, and the import of it."""

    def __init__(self, folder: Path, classes: tuple[str, ...] = CLASSES):
        self.folder, self.classes = folder, classes
        self.assembled = write_tiny_set(folder / "set", COUNTS, classes=classes)
        target = "class_label" if classes else "label"
        table = pq.read_table(self.assembled / "test.parquet").sort_by("clip_id")
        self.label = table[target].to_numpy()
        self.known = pq.read_table(self.assembled / "train.parquet")[target].to_numpy()

    def write(self, header: Sequence[str], rows: Rows, name: str = "theirs.csv") -> Path:
        path = self.folder / name
        if path.suffix == ".parquet":
            columns = zip(*rows, strict=True)
            pq.write_table(pa.table(dict(zip(header, map(list, columns), strict=True))), path)
            return path
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    def score(self, file: Path, **columns: str) -> ImportedPredictions:
        metrics = "cls" if self.classes else "mmsa"
        out = self.folder / "results" / "tiny" / "theirs"
        return import_predictions(file, "theirs", "tiny", self.assembled, out, metrics, columns)

    def told(self, header: Sequence[str], rows: Rows, **columns: str) -> str:
        with pytest.raises(LabelFileError) as caught:
            self.score(self.write(header, rows), **columns)
        assert not (self.folder / "results").exists()
        return str(caught.value)

    @property
    def entry(self) -> dict[str, Any]:
        text = (self.folder / "results/tiny/theirs/metrics.json").read_text()
        entry: dict[str, Any] = json.loads(text)["runs"][0]
        return entry


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


GUESSES = [0, 1, 2, 2, 1, 0, 0, 2, 1, 1]


@pytest.mark.parametrize("name", ["theirs.csv", "theirs.parquet"])
@pytest.mark.parametrize("how", ["names", "indices", "scores", "prefixed", "numbered"])
def test_classes_are_scored_as_scikit_learn_does(case: Case, name: str, how: str) -> None:
    scores = np.random.default_rng(0).normal(size=(10, 3))
    scores[np.arange(10), GUESSES] = scores.max(axis=1) + 0.25
    header, rows = {
        "names": (["Clip_ID", "Pred"], [[CLASSES[g].upper()] for g in GUESSES]),
        "indices": (["id", "prediction"], [[g] for g in GUESSES]),
        "scores": (["clip", *reversed(CLASSES)], scores[:, ::-1].tolist()),
        "prefixed": (["file", *(f"prob_{name}" for name in CLASSES)], scores.tolist()),
        "numbered": (["clip", "0", "1", "2"], scores.tolist()),
    }[how]
    done = case.score(case.write(header, [[c, *row] for c, row in zip(CLIPS, rows, strict=True)], name))
    assert done.scored == 10 and "all 10 test clips scored" in str(done)
    entry = case.entry
    assert entry["test"]["accuracy"] == pytest.approx(accuracy_score(case.label, GUESSES), abs=1e-6)
    for average in ("weighted", "macro"):
        theirs = f1_score(case.label, GUESSES, average=average)
        assert entry["test"][f"f1_{average}"] == pytest.approx(theirs, abs=1e-6)
    floor = least_scores(case.known, case.label, list(CLASSES))
    assert entry["floor"]["test_accuracy"] == pytest.approx(floor["accuracy"], abs=1e-6)
    assert (entry["n"], entry["valid"], entry["imported"]["file"]) == ({"test": 10}, {}, name)
    run = read_results(open_revision(None, case.folder), "results/tiny/theirs")[0]
    assert run.predictions["test"].prediction.tolist() == GUESSES
    assert run.predictions["test"].label.tolist() == case.label.tolist()
    assert is_imported(case.folder / "results/tiny/theirs/metrics.json")


def test_scores_of_a_regression(tmp_path: Path) -> None:
    case = Case(tmp_path, ())
    guess = np.linspace(-2, 2, 10)
    case.score(case.write(["clip_id", "score"], list(zip(CLIPS, guess, strict=True))))
    assert case.entry["test"]["mae"] == pytest.approx(np.abs(guess - case.label).mean(), abs=1e-5)
    assert case.entry["test"]["corr"] == pytest.approx(np.corrcoef(guess, case.label)[0, 1], abs=1e-5)
    assert case.entry["floor"]["test_mae"] > 0


def test_columns_may_be_named(case: Case) -> None:
    header = ["utt", "model", "label", "answer", "clip"]
    rows = [[c, "m", "sad", g, "x"] for c, g in zip(CLIPS, GUESSES, strict=True)]
    done = case.score(case.write(header, rows), clip="UTT", prediction="answer")
    assert done.columns == {"clip": "utt", "prediction": "answer"}
    assert case.entry["test"]["accuracy"] == pytest.approx(accuracy_score(case.label, GUESSES), abs=1e-6)
    with pytest.raises(ParamsError, match="--column 'angry' is not known"):
        case.score(case.write(header, rows), angry="answer")
    with pytest.raises(ParamsError, match="'answers' is not known, did you mean 'answer'"):
        case.score(case.write(header, rows), prediction="answers")


def test_clips_may_be_named_by_a_part_of_the_id_or_by_their_file(case: Case) -> None:
    """Rows of other splits are passed over, and their values not read; a part of several ids is told."""
    path = case.assembled / "test.parquet"
    table = pq.read_table(path)
    files = [f"Actor_1/{i}.flac" for i in range(10)]
    pq.write_table(table.append_column("path", pa.array(files)), path)
    names = ["Actor_1/0.flac", "1.flac", "Actor_1/2", *CLIPS[3:]]
    rows = [[name, g] for name, g in zip(names, GUESSES, strict=True)]
    done = case.score(case.write(["clip", "class"], [*rows, ["train$_$0001", "nan"]]))
    assert (done.scored, done.passed_over) == (10, 1)
    assert "clip '0001' could be test$_$0001, train$_$0001, valid$_$0001" in case_told(
        case, [["0001", 0], *rows[:1], *rows[2:]]
    )


def case_told(case: Case, rows: Rows) -> str:
    with pytest.raises(LabelFileError) as caught:
        case.score(case.write(["clip", "class"], rows))
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows, ["nobody", "1", "2", "3"]], "line 12: clip 'nobody' is not in this set"),
        (lambda rows: rows[:-2], r"2 of 10 test clips have no row: test$_$0008, test$_$0009"),
        (lambda rows: [*rows, rows[3]], "line 12: clip test$_$0003 occurs twice"),
        (lambda rows: [[*rows[0][:3], "nan"], *rows[1:]], "line 2: score of glad of test$_$0000 is 'nan'"),
        (lambda rows: [[*rows[0][:2], "inf", "1"], *rows[1:]], "score of Calm of test$_$0000 is 'inf'"),
        (lambda rows: [[*rows[0][:2], "", "1"], *rows[1:]], "score of Calm of test$_$0000 is ''"),
    ],
)
def test_what_is_wrong_with_scores_is_told(
    case: Case, change: Callable[[list[list[str]]], Rows], message: str
) -> None:
    rows = [[clip, "0.1", "0.2", "0.3"] for clip in CLIPS]
    assert message in case.told(["clip", *CLASSES], change(rows))


@pytest.mark.parametrize("given", ["angry", "3", "-1", "1.5", ""])
def test_a_class_that_is_none_is_told(case: Case, given: str) -> None:
    said = case.told(["clip", "class"], [[CLIPS[0], given], *([c, 1] for c in CLIPS[1:])])
    assert (
        f"prediction of test$_$0000 is {given!r}, expected one of sad, Calm, glad, or an index from 0" in said
    )


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["who", "class"], "no clip column, expected clip_id or clip or id (found: who, class"),
        (["clip", "label"], "no prediction column, expected prediction or a score for each class"),
        (["clip", "sad", "glad"], "no scores for Calm; expected a column for each of 3 classes"),
        (["clip", "sad", "Calm", "glad", "prob_glad"], "columns glad, prob_glad could be the scores of glad"),
        (["clip", "class", "class"], "column(s) class occur twice"),
    ],
)
def test_columns_that_cannot_be_told(case: Case, header: list[str], message: str) -> None:
    assert message in case.told(header, [[c, *(1 for _ in header[1:])] for c in CLIPS])


def test_files_that_are_no_tables(case: Case) -> None:
    for name in ("x.csv", "x.parquet"):
        (case.folder / name).write_bytes(b"\x00\x01")
        with pytest.raises(LabelFileError, match=name):
            case.score(case.folder / name)
    with pytest.raises(MsaError, match=r"nowhere\.csv: no such file"):
        case.score(case.folder / "nowhere.csv")


def test_equal_scores_are_remarked(case: Case) -> None:
    case.score(case.write(["clip", *CLASSES], [[c, 0.5, 0.5, 0.1] for c in CLIPS]))
    assert "10 clips have several highest scores: the first is used" in case.entry["remarks"]["test"]


def test_results_of_a_trained_method_are_not_replaced(case: Case) -> None:
    file = case.write(["clip", "class"], [[c, 1] for c in CLIPS])
    case.score(file)
    before = (case.folder / "results/tiny/theirs/metrics.json").read_bytes()
    case.score(file)  # what was imported may be
    path = case.folder / "results/tiny/theirs/metrics.json"
    assert path.read_bytes() == before
    tree = json.loads(before)
    del tree["runs"][0]["imported"]
    path.write_text(json.dumps(tree))
    with pytest.raises(
        MsaError, match="has results of a method that was trained here; choose another --name"
    ):
        case.score(file)


def test_significance_takes_them_as_runs(case: Case) -> None:
    right = case.write(["clip", "class"], [[c, int(t)] for c, t in zip(CLIPS, case.label, strict=True)])
    case.score(right)
    other = case.folder / "results" / "tiny" / "other"
    wrong = case.write(
        ["clip", "class"], [[c, int(t + 1) % 3] for c, t in zip(CLIPS, case.label, strict=True)]
    )
    import_predictions(wrong, "other", "tiny", case.assembled, other, "cls")
    entry, _ = compare_sets(["theirs-tiny"], ["other-tiny"], 100, 0, case.folder)
    accuracy = next(row for row in entry.rows if row.metric == "accuracy")
    assert accuracy.difference == 1.0 and entry.clips == 10
    assert any("other, theirs were imported" in remark for remark in entry.remarks)


def test_the_command_takes_all_folds_of_a_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    case = Case(tmp_path)
    none = dict.fromkeys(("text", "audio", "visual", "waveform"), "none")
    sets = {name: {"dataset": "toy", "metrics": "cls", **none} for name in ("a", "b")}
    dataset = {"root": "toy", "task": "classification", "classes": list(CLASSES)}
    tree = {"datasets": {"toy": dataset}, "assemble": sets, "models": {"misr": {}}}
    (tmp_path / "params.yaml").write_text(json.dumps(tree))
    (tmp_path / "data" / "assembled").mkdir(parents=True)
    for name in sets:
        (tmp_path / "data" / "assembled" / name).symlink_to(case.assembled)
    file = case.write(["utt", "class"], [[c, g] for c, g in zip(CLIPS, GUESSES, strict=True)])
    words = ("--name", "llm", "--column", "clip=utt")
    code, shown = cli("import-predictions", file, *words, "--set", "toy")
    assert code == 0 and "llm on a: all 10" in shown and "llm on b: all 10" in shown, shown
    assert (tmp_path / "results/b/llm/predictions.parquet").exists()
    monkeypatch.setenv("COLUMNS", "200")
    code, shown = cli("runs")
    assert code == 0 and "imported: theirs.csv" in " ".join(shown.split()), shown
    for wrong, message in (
        (("--name", "misr", "--set", "a"), "misr: already a method of this project"),
        (("--name", "x/y", "--set", "a"), "is not a name"),
        (("--name", "llm", "--set", "c"), "training set 'c' is not known"),
        (("--name", "llm", "--set", "a", "--column", "clip"), "expected KEY=COLUMN"),
    ):
        code, shown = cli("import-predictions", file, *wrong)
        assert code == 2 and message in shown and "Traceback" not in shown, shown
