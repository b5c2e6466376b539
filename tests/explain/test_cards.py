"""Cards of clips and pages of runs: what they show, that they need nothing else, and the command."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made.html_page import Page
from made.planted_sample import PlantedSample

from pipeline.core.errors import ClipError
from pipeline.core.vocabulary import ABSENT
from pipeline.explain.card import write_card
from pipeline.explain.explain import Contributions, Explainer, Explanation
from pipeline.explain.neighbours import represented
from pipeline.explain.stored import StoredClips
from pipeline.predict.inputs import batch_of
from pipeline.predict.predict import Predictor
from pipeline.predict.prediction import ClipFeatures
from pipeline.training.runs import open_runs

CLIP = "video_0006$_$0003"  # The most wonderful evening of my life.

Cli = Callable[..., tuple[int, str]]


@pytest.fixture
def explainer(planted: PlantedSample) -> Explainer:
    runs = open_runs([planted.run("early_fusion")])
    return Explainer(Predictor.without_encoders(runs, planted.params), "occlusion")


@pytest.fixture
def stored(explainer: Explainer, planted: PlantedSample) -> StoredClips:
    return StoredClips.of(explainer.run, planted.params)


@pytest.fixture
def found(explainer: Explainer, stored: StoredClips) -> Explanation:
    return explainer.explain(*stored.features([CLIP])[CLIP], label=stored.labels[CLIP])


def page_of(found: Explanation, folder: Path) -> Page:
    write_card(found, folder / "card.html")
    return Page((folder / "card.html").read_text(encoding="utf-8"))


def test_a_stored_clip_has_the_prediction_of_the_set(explainer: Explainer, stored: StoredClips) -> None:
    """Read from the stores and made ready as a new clip, or read from the assembled set."""
    test = Contributions.of(explainer.run, explainer.splits["test"])
    for clip_id, (features, before) in stored.features(test.clip_ids[:4]).items():
        clip = explainer.predictor.predict(features, before)
        place = test.clip_ids.index(clip_id)
        assert clip.value == pytest.approx(test.prediction[place, 0], abs=1e-5)
        for name, (mean, _) in clip.contributions.items():
            assert mean == pytest.approx(test.values[name][place], abs=1e-5)


def test_a_card_needs_nothing_else_and_adds_up(found: Explanation, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert len(page.images) == 1 and page.images[0]["aria-label"]
    assert CLIP in page.words and "The label is +1.40" in page.words
    parts, neighbours, numbers = page.tables
    values = [float(row[1][0]) for row in parts[1:]]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.003)
    assert [row[0][0] for row in parts[1:]] == ["mean of the training clips", "text", "audio", "this clip"]
    assert len(neighbours) == 6 and {row[1][0] for row in neighbours[1:]} <= {"train", "test"}
    assert len(numbers) > 5 and "Faithfulness, above chance" in page.words
    card = (tmp_path / "card.html").read_text(encoding="utf-8")
    words = re.findall(
        r'<span title="([+-][0-9.]+)" class="(raises|lowers)" style="[^"]*,([0-9.]+)\)">([^<]*)<', card
    )
    assert [word for *_, word in words] == ["The", "most", "wonderful", "evening", "of", "my", "life."]
    strongest = max(words, key=lambda word: abs(float(word[0])))
    assert strongest[2] == "0.55" and all(
        (float(value) > 0) == (kind == "raises") for value, kind, *_ in words
    )


def test_equal_explanations_give_equal_bytes(
    found: Explanation, explainer: Explainer, stored: StoredClips, tmp_path: Path
) -> None:
    again = explainer.explain(*stored.features([CLIP])[CLIP], label=stored.labels[CLIP])
    for form in ("html", "pdf"):
        for name, one in (("a", found), ("b", again)):
            write_card(one, tmp_path / f"{name}.{form}")
        content = (tmp_path / f"a.{form}").read_bytes()
        assert content == (tmp_path / f"b.{form}").read_bytes()
    assert content.startswith(b"%PDF") and b"CreationDate" not in content


def test_what_a_clip_lacks_is_nowhere(explainer: Explainer, stored: StoredClips, tmp_path: Path) -> None:
    """Not even as 0: no contribution, no evidence, no bar."""
    features, before = stored.features([CLIP])[CLIP]
    key = explainer.run.needed["audio"]["fingerprint"]
    absent = replace(features.rows[key], status=ABSENT, error="no audio track", features=None, times=None)
    mute = replace(features, rows={**features.rows, key: absent}, video=Path("gone.mp4"))
    card = explainer.explain(mute, before)
    assert list(card.evidence) == ["text"] and list(card.prediction.contributions) == ["text"]
    page = page_of(card, tmp_path)
    assert [row[0][0] for row in page.tables[0][1:]] == ["mean of the training clips", "text", "this clip"]
    assert {row[0][0] for row in page.tables[2][1:]} == {"text"}
    assert card.marks.sound == [] and "audio: absent: no audio track" in page.words


def test_neighbours_are_nearest_in_what_the_head_reads(
    found: Explanation, explainer: Explainer, stored: StoredClips
) -> None:
    """By NumPy, over each clip alone; the clip itself is none."""
    run, centre, all_values = explainer.run, [], {}
    for name in ("train", "test"):
        split = explainer.splits[name]
        for row in range(len(split)):
            batch = split.batch(torch.tensor([row]))
            values = represented(run.method, batch)
            assert values is not None
            all_values[batch.clip_ids[0]] = values[0]
            centre += [values[0]] if name == "train" else []
    features, _ = stored.features([CLIP])[CLIP]
    own = represented(run.method, batch_of(run, Predictor.inputs(run, features)))
    assert own is not None
    mean = np.mean(centre, axis=0)
    unit = {name: (v - mean) / np.linalg.norm(v - mean) for name, v in all_values.items()}
    likeness = {name: float(v @ (own[0] - mean) / np.linalg.norm(own[0] - mean)) for name, v in unit.items()}
    likeness.pop(CLIP)
    truth = sorted(likeness, key=lambda name: -likeness[name])[:5]
    assert [one.clip_id for one in found.neighbours] == truth
    assert [one.likeness for one in found.neighbours] == pytest.approx([likeness[name] for name in truth])


# ------------------------------------------------------------------------------------------------ the command
def test_a_page_of_the_most_telling_clips(
    planted: PlantedSample, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.explain.explain.MOST_TELLING", 3)
    write_params(planted)
    run = planted.run("early_fusion")
    code, told = cli("explain", "--run", run, "--out", tmp_path)
    assert code == 0 and "over 16 test clips" in told, told
    page = Page((tmp_path / "early_fusion-planted-1.html").read_text(encoding="utf-8"))
    assert "the 3 most telling of 16 test clips" in page.words and "The most telling clips are" in page.words
    sizes = [abs(float(row[4][0])) + abs(float(row[5][0])) for row in page.tables[1][1:]]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == 3
    assert len(page.images) == 3 and len(set(page.ids)) == len(page.ids)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)


def test_cards_of_test_clips_and_of_new_ones(
    planted: PlantedSample, cli: Cli, tmp_path: Path, project: Path
) -> None:
    write_params(planted)
    code, told = cli(
        "explain", "--run", planted.run("text_only"), "--clip", CLIP, "--out", tmp_path, "--format", "pdf"
    )
    assert code == 0 and (tmp_path / f"{CLIP}.pdf").read_bytes().startswith(b"%PDF"), told
    video = project / "data/sample/Raw/video_0006/0003.mp4"
    again = "The most wonderful evening of my life."
    words = ("explain", "--run", planted.run("text_only"), "--out", tmp_path, "--gradients")
    code, told = cli(*words, "--video", video, "--text", again)
    assert code == 0 and "strongest evidence" in told and (tmp_path / "0003.html").exists(), told
    mute = tmp_path / "mute.mp4"
    shutil.copy(video, mute)
    code, told = cli(*words, "--video", mute)
    assert code == 1 and "mute: nothing could be predicted: text: absent: no transcript" in told


def test_a_folder_is_one_video(
    planted: PlantedSample, cli: Cli, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`explain` gets, with --context, the clips before each in natural order, and without it None."""
    write_params(planted)
    told: dict[str, list[str] | None] = {}

    def explain(_: Explainer, features: ClipFeatures, before: list[ClipFeatures] | None = None) -> None:
        told[features.clip_id] = before if before is None else [one.clip_id for one in before]
        raise ClipError(f"{features.clip_id}: not explained")

    monkeypatch.setattr(Explainer, "explain", explain)
    talk = tmp_path / "talk"
    talk.mkdir()
    for name in ("10", "2"):
        shutil.copy(project / "data/sample/Raw/video_0006/0003.mp4", talk / f"{name}.mp4")
        (talk / f"{name}.txt").write_text("so good", encoding="utf-8")
    words = ("explain", "--run", planted.run("text_only"), "--video", talk, "--out", tmp_path)
    assert cli(*words, "--context")[0] == 1 and told == {"2": [], "10": ["2"]}
    assert cli(*words)[0] == 1 and told == {"2": None, "10": None}


def test_mistakes_of_use(planted: PlantedSample, cli: Cli, tmp_path: Path) -> None:
    write_params(planted)
    run = planted.run("early_fusion")
    other = run.with_name("2")
    shutil.copytree(run, other)
    for words, message in (
        (("--run", run.parent), "has 2 seeds; explain one, e.g. --run runs/early_fusion-planted/1"),
        (("--run", run, "--format", "doc"), "--format doc: expected html or pdf"),
        (("--run", run, "--clip", "nobody"), "--clip nobody: not among the 16 test clips of data/assembled"),
        (("--run", run, "--clip", CLIP, "--video", run), "--video and --clip were both given"),
        (("--run", run, "--text", "so good"), "--text and --text-file belong to a --video"),
        (("--run", run, "--context"), "--context belongs to a --video"),
    ):
        code, told = cli("explain", *words, "--out", tmp_path)
        assert code == 2 and message in told and "Traceback" not in told, told
    shutil.rmtree(other)
    features = Path("data/features/planted/audio-level")
    features.rename(features.with_name("away"))
    code, told = cli("explain", "--run", run, "--clip", CLIP, "--out", tmp_path)
    features.with_name("away").rename(features)
    assert code == 2 and "audio-level: has no features" in told and "dvc pull" in told


def write_params(planted: PlantedSample) -> None:
    Path("params.yaml").write_text(json.dumps(planted.tree), encoding="utf-8")  # which is YAML
