"""The picture of a predicted clip: its panels, what they show, in which units, and that its bytes stay."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made.media_factory import make_clip, tone
from made.sample_runs import SampleRuns
from matplotlib.figure import Figure

from pipeline.media.words import spans
from pipeline.params.params import Params
from pipeline.predict.clip_curves import FEWEST_PICTURES, ClipCurves, curves_of
from pipeline.predict.marks import Marks
from pipeline.predict.predict import Predictor
from pipeline.predict.prediction import ClipPrediction
from pipeline.predict.timeline import STRIP, draw_timeline, timeline
from pipeline.predict.words_panel import MOST_LINES, SPAN, style

CLIP = "video_0001$_$0001"
PITCH = 220.0  # Hz

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")


@pytest.fixture(scope="module")
def predictor(sample: SampleRuns) -> Predictor:
    return Predictor.open([sample.run("misr"), sample.run("misr", seed=2), sample.run("cmir")], Params())


@pytest.fixture(scope="module")
def clip(sample: SampleRuns, predictor: Predictor) -> ClipPrediction:
    return predictor(CLIP, sample.videos[CLIP], sample.texts[CLIP])


def drawn(clip: ClipPrediction, curves: ClipCurves) -> dict[str, Any]:
    """The axes by their names."""
    with style(clip.features.spoken.text or ""):
        figure = timeline(clip, curves)
    assert isinstance(figure, Figure)
    return {str(panel.get_label()): panel for panel in figure.axes}


def said(panel: Any) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_every_part_is_there_with_its_unit(clip: ClipPrediction, predictor: Predictor) -> None:
    curves = curves_of(clip.features, predictor.runs, SPAN / STRIP)
    panels = drawn(clip, curves)
    assert list(panels) == ["frames", "words", "waveform", "pitch", "units", "scores", "parts"]
    assert len(panels["frames"].images) == len(curves.pictures) >= FEWEST_PICTURES
    assert said(panels["words"]) == [clip.features.spoken.text]
    assert panels["pitch"].get_ylabel() == "pitch (Hz)" and panels["waveform"].get_ylabel() == "waveform"
    assert panels["units"].get_ylabel() == "AU (mesh estimate)"
    assert panels["units"].get_xlabel() == "time (seconds)"
    assert "label units" in panels["scores"].get_xlabel() and "label units" in panels["parts"].get_xlabel()
    shared = {panels[name].get_xlim() for name in ("frames", "words", "waveform", "pitch", "units")}
    assert shared == {(0.0, curves.duration_s)}


def test_bars_and_scores_are_those_of_the_prediction(clip: ClipPrediction, predictor: Predictor) -> None:
    panels = drawn(clip, curves_of(clip.features, predictor.runs, SPAN / STRIP))
    parts = panels["parts"]
    widths = [bar.get_width() for bar in parts.patches]
    assert widths == pytest.approx([mean for mean, _ in clip.contributions.values()])
    assert [label.get_text() for label in parts.get_yticklabels()] == ["text", "audio", "visual"]
    assert said(parts) == [f"{mean:+.2f}" for mean, _ in clip.contributions.values()]
    assert len({bar.get_hatch() for bar in parts.patches}) == 3  # told apart without colour
    names = [label.get_text() for label in panels["scores"].get_yticklabels()]
    assert names == ["MISR (2)", "CmIR (1)", "mean (3)"]
    low, high = panels["scores"].get_xlim()
    assert low <= -3 and high >= 3


def test_evidence_is_drawn_at_its_words_and_times(clip: ClipPrediction) -> None:
    """Bars as high as the evidence; words tinted by it, and underlined by its sign; no mark, no colour."""
    text = clip.features.spoken.text or ""
    (first, second) = spans(text)[:2]
    marks = Marks([(*first, 0.2), (*second, -0.1)], [(0.0, 0.5, -0.3)], [(0.5, 1.0, 0.4), (1.0, 1.5, -0.2)])
    curves = ClipCurves(2.0, [], None, None, {})
    with style(text):
        figure = timeline(clip, curves, marks, ["a note"])
    panels = {str(panel.get_label()): panel for panel in figure.axes}
    assert list(panels) == ["seen", "words", "heard", "scores", "parts"]
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in panels["heard"].patches]
    assert bars == [(0.5, 0.5, 0.4), (1.0, 0.5, -0.2)]
    assert panels["heard"].get_ylim() == panels["seen"].get_ylim()  # one scale
    up, down, *rest = panels["words"].texts
    assert [up.get_text(), down.get_text()] == [text[slice(*first)], text[slice(*second)]]
    boxes = [one.get_bbox_patch() for one in (up, down)]
    assert boxes[0].get_alpha() == pytest.approx(2 * boxes[1].get_alpha())
    assert boxes[0].get_facecolor()[:3] != boxes[1].get_facecolor()[:3]
    assert all(one.get_bbox_patch() is None for one in rest)
    assert [line.get_linestyle() for line in panels["words"].lines] == ["-", ":"]
    assert "a note" in [one.get_text() for one in figure.texts]


def test_lines_differ_without_colour(clip: ClipPrediction, predictor: Predictor) -> None:
    units = drawn(clip, curves_of(clip.features, predictor.runs, SPAN / STRIP))["units"]
    assert len(units.lines) > 1
    assert len({str(line._dash_pattern) for line in units.lines}) == len(units.lines)
    legend = [text.get_text() for text in units.get_legend().get_texts()]
    assert all(label.startswith("AU") for label in legend)


def test_pitch_and_waveform_of_a_tone(predictor: Predictor, tmp_path: Path) -> None:
    """A sine of amplitude 0.5, then silence."""
    sound = np.concatenate([tone(PITCH, 1.0, 16_000), np.zeros(16_000, np.float32)])
    path = make_clip(tmp_path / "tone.mkv", times=[i / 25 for i in range(50)], sound=sound)
    found = predictor("tone", path)
    curves = curves_of(found.features, predictor.runs, SPAN / STRIP)
    assert curves.pitch is not None and curves.waveform is not None
    times, hertz = curves.pitch
    inner = (times > 0.2) & (times < 0.8)
    assert np.nanmedian(hertz[inner]) == pytest.approx(PITCH, rel=0.02)
    assert np.isnan(hertz[times > 1.3]).all()
    times, low, high = curves.waveform
    assert len(times) == 1000 and times[500] == pytest.approx(1.0, abs=0.01)
    assert high.max() == pytest.approx(0.5, abs=0.01) and low.min() == pytest.approx(-0.5, abs=0.01)
    assert np.abs([low, high])[:, times > 1.1].max() < 0.01
    assert curves.units == {}  # the pictures show no face
    assert curves.duration_s == pytest.approx(2.0, abs=0.05)


def test_what_a_clip_lacks_has_no_panel(predictor: Predictor, tmp_path: Path) -> None:
    pictures = make_clip(tmp_path / "mute.mkv", times=[i / 25 for i in range(20)])
    assert list(drawn(*_found(predictor, pictures))) == ["frames", "scores", "parts"]
    sound = make_clip(tmp_path / "sound.mka", sound=tone(PITCH, 0.5, 16_000))
    clip, curves = _found(predictor, sound)
    panels = drawn(clip, curves)
    assert list(panels) == ["waveform", "pitch", "scores", "parts"]
    assert panels["pitch"].get_xlabel() == "time (seconds)"
    (only,) = panels["parts"].patches  # all of what is not the mean prediction
    assert only.get_width() == pytest.approx(clip.value - clip.baseline, abs=1e-6)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    assert list(drawn(*_found(predictor, broken, "only words"))) == ["words", "scores", "parts"]


def _found(predictor: Predictor, path: Path, text: str | None = None) -> tuple[ClipPrediction, ClipCurves]:
    clip = predictor(path.stem, path, text)
    return clip, curves_of(clip.features, predictor.runs, SPAN / STRIP)


def with_speech(clip: ClipPrediction, text: str, words: list[dict[str, Any]] | None = None) -> ClipPrediction:
    material = replace(clip.features, spoken=replace(clip.features.spoken, text=text, words=words))
    return replace(clip, features=material)


def test_words_stand_at_their_times_without_overlap(clip: ClipPrediction) -> None:
    words = [
        {"text": "wonderful", "start_s": 0.1 * i, "end_s": 0.1 * i + 0.08, "score": 1.0} for i in range(5)
    ]
    curves = ClipCurves(2.0, [], None, None, {})
    panel = drawn(with_speech(clip, "said", words), curves)["words"]
    assert [text.get_position()[0] for text in panel.texts] == [word["start_s"] for word in words]
    assert [list(line.get_xdata()) for line in panel.lines] == [[w["start_s"], w["end_s"]] for w in words]
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(panel.figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in panel.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    crowd = [{**words[0], "start_s": 0.001 * i} for i in range(50)]
    assert said(drawn(with_speech(clip, "as a paragraph", crowd), curves)["words"]) == ["as a paragraph"]


def test_long_text_is_wrapped_within_the_picture(clip: ClipPrediction) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for text in ("many words of a long speech " * 100, "今天天气真不错" * 100, "W" * 3000):
        panel = drawn(with_speech(clip, text), ClipCurves(2.0, [], None, None, {}))["words"]
        lines = said(panel)
        assert len(lines) == MOST_LINES and lines[-1].endswith("…")
        renderer = FigureCanvasAgg(panel.figure).get_renderer()
        if text.startswith("many"):
            right = max(line.get_window_extent(renderer).x1 for line in panel.texts)
            assert right <= panel.figure.bbox.x1


def test_scripts_and_signs_do_not_crash_it(
    clip: ClipPrediction, predictor: Predictor, tmp_path: Path
) -> None:
    text = "价格是 $5 和 $6_a^b \\frac \U0010fffd"
    path = tmp_path / "sub" / "picture.png"
    draw_timeline(with_speech(clip, text), predictor.runs, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    panels = drawn(with_speech(clip, text), ClipCurves(2.0, [], None, None, {}))
    assert said(panels["words"]) == [text]  # no formula is made of it
    notes = [text.get_text() for text in panels["words"].figure.texts]
    assert any("in no installed font" in note for note in notes)  # no font has the last character
    plain = drawn(with_speech(clip, "plain"), ClipCurves(2.0, [], None, None, {}))["words"].figure
    assert not any("in no installed font" in text.get_text() for text in plain.texts)


def test_frames_without_a_face_are_marked(clip: ClipPrediction) -> None:
    times = np.arange(10) / 10
    values = np.where(times < 0.5, 0.2, np.nan)
    panel = drawn(clip, ClipCurves(1.0, [], None, None, {"AU12_r": (times, values)}))["units"]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == [
        "AU12_r lip corner puller",
        "no face",
    ]
    assert panel.get_ylabel() == "AU (0 to 5)"


def test_classes_are_bars_of_probability(sample: SampleRuns) -> None:
    predictor = Predictor.open([sample.run("misr", classes=True)], Params())
    clip = predictor(CLIP, sample.videos[CLIP], sample.texts[CLIP])
    panels = drawn(clip, ClipCurves(1.0, [], None, None, {}))
    assert [bar.get_width() for bar in panels["scores"].patches] == pytest.approx(clip.scores.tolist())
    assert "probability of" in panels["parts"].get_xlabel()


def test_the_same_clip_gives_the_same_bytes(
    clip: ClipPrediction, predictor: Predictor, tmp_path: Path
) -> None:
    draw_timeline(clip, predictor.runs, tmp_path / "a.png")
    moved = tmp_path / "elsewhere.mp4"
    shutil.copy(clip.features.video, moved)
    again = replace(clip, features=replace(clip.features, video=moved))
    draw_timeline(again, predictor.runs, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.shared
def test_portraits_have_more_pictures(predictor: Predictor, shared: Path) -> None:
    counts = []
    for name in ("grid/lbbc2a.mpg", "awkward/pixels_rotated_90.mp4"):
        clip = predictor(name, shared / "clips" / name, "text")
        pictures = curves_of(clip.features, predictor.runs, SPAN / STRIP).pictures
        height, width = pictures[0].shape[:2]
        panel = drawn(clip, curves_of(clip.features, predictor.runs, SPAN / STRIP))["frames"]
        left, right, bottom, top = panel.images[0].get_extent()
        wide = (right - left) / panel.get_xlim()[1] * SPAN
        assert wide / ((top - bottom) * STRIP) == pytest.approx(width / height, rel=1e-6)  # not distorted
        counts.append(len(pictures))
    assert counts[1] > counts[0]
