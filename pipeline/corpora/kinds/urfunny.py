"""UR-FUNNY version 2 with its videos: punchlines of talks that made people laugh or not, and what led there.

    data_folds.pkl        {train, dev, test: [id]}
    language_sdk.pkl      {id: punchline_sentence, context_sentences, punchline_intervals [word][2],
                          context_intervals [sentence][word][2]}, seconds
    humor_label_sdk.pkl   {id: 0 or 1}
    <id>.mp4              in folders of any name below the corpus: context and punchline in one file

The punchline of `id` becomes the clip `id$_$punchline`, the sentences before it `id$_$c0`, `id$_$c1`, ...
with split `context`; all have the path of the one video, each from its first to its last word. Times count
from the video's start. Where a copy's times count from elsewhere (the talk's start) and its videos begin with
the first word, write `settings: {times: first_word}`. Times that a video does not have are a remark.
Source: https://github.com/ROC-HCI/UR-FUNNY
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.core.names import bad_id
from pipeline.core.section import Section
from pipeline.core.vocabulary import CONTEXT, TEST, TRAIN, VALID
from pipeline.corpora.survey import (
    CorpusClip,
    CorpusSurvey,
    Labelling,
    read_tree,
    reject_repeated,
    reject_task,
)
from pipeline.corpora.tables.media_files import WantedMedia, find_media, with_media
from pipeline.corpora.tables.values import SPLIT_NAMES
from pipeline.formats.source import understood
from pipeline.formats.text import text_of
from pipeline.params.params import DatasetParams

FOLDS, LANGUAGE, LABEL_FILE = "data_folds.pkl", "language_sdk.pkl", "humor_label_sdk.pkl"
PUNCHLINE = "punchline"
LAYOUT = f"<root>/{FOLDS}, {LANGUAGE}, {LABEL_FILE}, and <id>.mp4 in folders below"
LABELLING = Labelling("classification", classes=("not_humorous", "humorous"), metrics="cls")
PUBLISHED = {TRAIN: 7614, VALID: 980, TEST: 994}


class UrFunnySettings(Section):
    """What differs between copies."""

    times: Literal["file", "first_word"] = "file"
    """where the times of words count from: the start of the video, or its first word"""


SETTINGS = UrFunnySettings


def survey(name: str, dataset: DatasetParams, settings: UrFunnySettings) -> CorpusSurvey:
    """Punchlines and the sentences before them."""
    root = Path(dataset.root)
    found = CorpusSurvey(str(root))
    reject_task(found, name, dataset, LABELLING)
    folds, language, labels = (_tree(found, name, root, file) for file in (FOLDS, LANGUAGE, LABEL_FILE))
    if folds is None or language is None or labels is None:
        return found
    lacking: list[str] = []
    with understood(f"{dataset.root} (kind {dataset.kind})"):
        for fold, keys in folds.items():
            split = SPLIT_NAMES.get(fold.lower())
            if split is None:
                found.reject("mode", f"{FOLDS}: fold {fold!r}, expected train, dev or test")
            for key in map(text_of, keys):
                if bad_id(key):
                    found.reject("ids", f"{FOLDS}: id {key!r}: {bad_id(key)}")
                elif not isinstance(language.get(key), Mapping) or key not in labels:
                    lacking.append(key)
                else:
                    found.clips += _clips(found, key, split, language[key], labels[key], settings)
    if lacking:
        message = f"{len(lacking)} ids of {FOLDS} have no text or no label and are omitted"
        found.note("ids without text", message, lacking, "warning")
    strays = sorted(set(labels) - {clip.video_id for clip in found.clips} - set(lacking))
    if strays:
        found.note("ids without a fold", f"{len(strays)} labels are in no fold and are omitted", strays)
    found.files = find_media(root)
    wanted = [WantedMedia("", clip.video_id, f"{clip.video_id}.mp4") for clip in found.clips]
    found.clips = with_media(found.clips, wanted, {"": found.files})
    reject_repeated(found)
    return found


def _tree(found: CorpusSurvey, name: str, root: Path, file: str) -> dict[str, Any] | None:
    """A pickle's dict with its keys as text; None and a problem where it cannot be had."""
    if not (root / file).is_file():
        where = f"datasets.{name}.root is {str(root)!r}"
        found.reject("file", f"{where}: no {file} there; expected {LAYOUT}")
        return None
    tree = read_tree(found, root / file)
    if isinstance(tree, Mapping):
        return {text_of(key): value for key, value in tree.items()}
    if tree is not None:
        found.reject("pickle", f"{file}: holds a {type(tree).__name__}, expected a dict keyed by id")
    return None


def _clips(
    found: CorpusSurvey,
    key: str,
    split: str | None,
    record: Mapping[str, Any],
    label: Any,
    settings: UrFunnySettings,
) -> list[CorpusClip]:
    """The sentences before a punchline in their order, then the punchline."""
    sentences = [sentence_text(sentence) for sentence in _listed(record.get("context_sentences"))]
    spans = _listed(record.get("context_intervals"))
    spans = [*spans, *[None] * (len(sentences) - len(spans))][: len(sentences)]
    times = [_span(words) for words in (*spans, record.get("punchline_intervals"))]
    starts = [start for start, _ in times if start is not None]
    zero = min(starts) if starts and settings.times == "first_word" else 0.0
    times = [
        (None if start is None else start - zero, None if end is None else end - zero) for start, end in times
    ]
    value = np.asarray(label).reshape(-1)
    humorous = float(value[0]) if value.size == 1 and value[0] in (0, 1) else None
    if humorous is None:
        found.reject("class", f"{LABEL_FILE}: label of {key} is {label!r}, expected 0 or 1")
    clips = [
        CorpusClip(key, f"c{index}", CONTEXT, text, start_s=start, end_s=end, position=index)
        for index, (text, (start, end)) in enumerate(zip(sentences, times, strict=False))
    ]
    start, end = times[-1]
    text, position = sentence_text(record.get("punchline_sentence")), len(sentences)
    labels: dict[str, float | None] = {"class_label": None if humorous is None else int(humorous)}
    last = CorpusClip(key, PUNCHLINE, split, text, labels, start_s=start, end_s=end, position=position)
    return [*clips, last]


def _span(words: Any) -> tuple[float | None, float | None]:
    """Begin of the first and end of the last word, seconds; None where the times are no times."""
    try:
        times = np.asarray(words, np.float64).reshape(-1, 2) if words is not None else np.zeros((0, 2))
    except (TypeError, ValueError):
        return None, None
    times = times[np.isfinite(times).all(axis=1)]
    if not len(times) or times[:, 0].min() < 0 or times[:, 1].max() <= times[:, 0].min():
        return None, None
    return float(times[:, 0].min()), float(times[:, 1].max())


def _listed(values: Any) -> list[Any]:
    return [] if values is None or isinstance(values, str | bytes) else list(values)


def sentence_text(sentence: Any) -> str:
    """A sentence that is text, or a list with the text or with its words."""
    words = [sentence or ""] if sentence is None or isinstance(sentence, str | bytes) else sentence
    return " ".join(map(text_of, words)).strip()
