"""UR-FUNNY's six pickles: https://github.com/ROC-HCI/UR-FUNNY (README, extracted_features.txt).

    data_folds.pkl              {train, dev, test: [id]}
    language_sdk.pkl            {id: punchline_embedding_indexes [T], context_embedding_indexes [sentence][T],
                                punchline_sentence, context_sentences, punchline_intervals [T][2] (seconds),
                                context_intervals, and in some copies the words, punchline_features [T] and
                                context_features [sentence][T]}
    openface_features_sdk.pkl   {id: punchline_features [T][371], context_features [sentence][T][371]}
    covarep_features_sdk.pkl    the same with 81 columns
    humor_label_sdk.pkl         {id: 0 or 1}
    word_embedding_list.pkl     GloVe 840B, 300 numbers a word; the indexes above are its rows

All features are averages over words: the T of a sentence are its words in all modalities. Version 1 of the
corpus has `word_embedding_indexes_sdk.pkl` without sentences, and 75 columns of OpenFace.

An id names a video of its own. The punchline of `id` becomes the clip `id$_$punchline`, which has label and
split; the sentences before it become `id$_$c0`, `id$_$c1`, ... with split `context`. Word times are counted
from the first word of each sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.columns import numbered
from pipeline.core.errors import ClipError, FormatError
from pipeline.core.openface_layout import FLAGS, OPENFACE_709
from pipeline.corpora.clips import CONTEXT
from pipeline.corpora.urfunny import FOLDS, LABELLING, LABELS, LANGUAGE, PUNCHLINE
from pipeline.formats.source import Source, understood
from pipeline.imports.checks import clip_of, index_of, listed, matrix, split_of, text_of
from pipeline.imports.contract import FeatureSequences, Imported
from pipeline.params.params import ImportParams
from pipeline.transcripts.words import locate

KIND_OF_FILES = "UR-FUNNY: a folder of its pickles (data_folds, language_sdk, humor_label_sdk and features)"

GLOVE = "word_embedding_list.pkl"
TEXTS = (LANGUAGE, "word_embedding_indexes_sdk.pkl")
FEATURES = {"audio": "covarep_features_sdk.pkl", "visual": "openface_features_sdk.pkl"}
COVAREP_81 = [
    *("f0", "VUV", "NAQ", "QOQ", "H1H2", "PSP", "HRF", "MDQ", "peakSlope", "Rd", "Rd_conf"),
    *(f"MCEP_{i}" for i in range(25)),
    *(f"HMPDM_{i}" for i in range(25)),
    *(f"HMPDD_{i}" for i in range(13)),
    *("vowelSpace", "F1", "F2", "F3", "F4", "F5", "VAD"),
]
_LANDMARKS = {f"{axis}_{point}" for axis in "xyXYZ" for point in range(68)}
OPENFACE_371 = FLAGS + [name for name in OPENFACE_709 if name not in _LANDMARKS]
NAMES = {"audio": COVAREP_81, "visual": OPENFACE_371}


@dataclass(frozen=True)
class Sentence:
    """Where a clip's values are: under `key`, in sentence `index` of the context; None = the punchline."""

    key: str
    index: int | None

    def of(self, record: Mapping[str, Any], what: str) -> Any:
        """`punchline_<what>`, or its sentence of `context_<what>`; None where it is not there."""
        if self.index is None:
            return record.get(f"punchline_{what}")
        whole = record.get("context_sentences" if what == "sentence" else f"context_{what}")
        return None if whole is None or self.index >= len(whole) else whole[self.index]


def matches(source: Source) -> str:
    """Why this is no folder of UR-FUNNY's pickles; empty if it is."""
    lacking = [
        names[0]
        for names in ((FOLDS,), TEXTS, (LABELS,))
        if source.root.is_file() or not source.named(*names)
    ]
    return f"no {', '.join(lacking)}" if lacking else ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the pickles hold.

    Raises
    ------
    FormatError : a pickle is not as described, or ids repeat
    """
    folds = _tree(source, FOLDS)
    language = _by_text(_tree(source, *TEXTS))
    labels = _by_text(_tree(source, LABELS))
    rows: list[dict[str, Any]] = []
    places: dict[str, Sentence] = {}
    lacking: list[str] = []
    with understood(f"{source} (kind {params.kind})"):
        for fold, keys in folds.items():
            split = split_of(source, fold)
            for key in map(text_of, keys):
                if key not in language or key not in labels:
                    lacking.append(key)
                    continue
                for clip, sentence in _sentences(source, key, language[key]):
                    row = _row(clip, sentence, language[key])
                    row["split"] = CONTEXT if sentence.index is not None else split
                    if sentence.index is None:
                        row["class_label"] = index_of(
                            labels[key], len(LABELLING.classes), f"{source}: {LABELS}: {key}"
                        )
                    rows.append(row)
                    places[clip] = sentence
        modalities = _modalities(source, language, places)
        words, unplaced = _words(rows, places, language)
        uneven = _uneven(source, language, places)
    notes = [f"{len(lacking)} ids of {FOLDS} have no text or no label: {listed(lacking)}"] if lacking else []
    if unplaced:
        notes.append(f"{unplaced} clips have no word times: their words are not those of their sentence")
    strays = sorted(labels.keys() - {place.key for place in places.values()} - set(lacking))
    if strays:
        notes.append(f"{len(strays)} labels are of no fold and are left out: {listed(strays)}")
    if uneven:
        notes.append(f"{len(uneven)} clips differ in steps between modalities: {listed(uneven)}")
    return Imported(rows, modalities, LABELLING, words, aligned=not uneven, notes=notes)


# ---------------------------------------------------------------------------------------------------- pickles
def _tree(source: Source, *names: str) -> Any:
    path = source.named(*names)
    if path is None:
        raise FormatError(f"{source}: no {names[0]}; expected the folder of UR-FUNNY's pickles")
    tree = source.tree(path)
    if not isinstance(tree, Mapping):
        raise FormatError(f"{path}: holds a {type(tree).__name__}; expected a dict by id, or by split")
    return tree


def _by_text(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Some copies have ids as numbers, others as text."""
    return {text_of(key): value for key, value in tree.items()}


def _sentences(source: Source, key: str, record: Any) -> Iterator[tuple[str, Sentence]]:
    """The context's sentences in their order, then the punchline."""
    if not isinstance(record, Mapping) or "punchline_embedding_indexes" not in record:
        raise FormatError(f"{source}: {LANGUAGE}: {key}: no punchline_embedding_indexes")
    context = record.get("context_sentences")
    if context is None:
        context = record.get("context_embedding_indexes")
    for index in range(0 if context is None else len(context)):
        yield clip_of(source, key, f"c{index}"), Sentence(key, index)
    yield clip_of(source, key, PUNCHLINE), Sentence(key, None)


def _row(clip: str, sentence: Sentence, record: Mapping[str, Any]) -> dict[str, Any]:
    context = record.get("context_sentences")
    if context is None:
        context = record.get("context_embedding_indexes")
    last = 0 if context is None else len(context)
    text = _spoken(sentence.of(record, "sentence"))
    return {
        "clip_id": clip,
        "video_id": sentence.key,
        "text": text or None,
        "position": last if sentence.index is None else sentence.index,
    }


def _spoken(value: Any) -> str:
    """A sentence that is text, or a list with the text or with its words."""
    if value is None:
        return ""
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(text_of(part) for part in value).strip()
    return text_of(value).strip()


# ------------------------------------------------------------------------------------------------- modalities
def _modalities(
    source: Source, language: Mapping[str, Any], places: Mapping[str, Sentence]
) -> dict[str, FeatureSequences]:
    """The modalities whose pickles are there.

    Raises
    ------
    FormatError : there are none
    """
    found: dict[str, FeatureSequences] = {}
    if (path := source.named(GLOVE)) is not None:
        found["text"] = _glove(path, source.tree(path), language, places)
    for modality, name in FEATURES.items():
        if (path := source.named(name)) is not None:
            records = _by_text(_tree(source, name))
            found[modality] = _features(modality, path, records, places)
    if not found:
        raise FormatError(f"{source}: none of {GLOVE}, {', '.join(FEATURES.values())}: there are no features")
    return found


def _glove(
    path: Path, table: Any, language: Mapping[str, Any], places: Mapping[str, Sentence]
) -> FeatureSequences:
    vectors = matrix(table, None, str(path)).astype(np.float32, copy=False)

    def rows_of(clip: str) -> np.ndarray | None:
        place = places[clip]
        indexes = place.of(language[place.key], "embedding_indexes")
        if indexes is None or not len(indexes):
            return None
        at = np.asarray(indexes, np.float64).reshape(-1)
        strange = at[(at < 0) | (at >= len(vectors)) | (at % 1 != 0)]
        if len(strange):
            raise FormatError(
                f"{path}: word {strange[0]:g} of clip {clip}; the list has {len(vectors)} words"
            )
        return vectors[at.astype(np.int64)]

    return FeatureSequences(numbered("glove", vectors.shape[1]), rows_of, list(places), padded=False)


def _features(
    modality: str, path: Path, records: Mapping[str, Any], places: Mapping[str, Sentence]
) -> FeatureSequences:
    def value_of(clip: str) -> Any:
        place = places[clip]
        record = records.get(place.key)
        return None if record is None else place.of(record, "features")

    width = next((len(value[0]) for value in map(value_of, places) if value is not None and len(value)), 0)
    if not width:
        raise FormatError(f"{path}: no features of any id in {FOLDS}")
    names = NAMES[modality]

    def rows_of(clip: str) -> np.ndarray | None:
        value = value_of(clip)
        return None if value is None or not len(value) else matrix(value, width, f"{path}: clip {clip}")

    columns = names if width == len(names) else numbered(modality, width)
    return FeatureSequences(columns, rows_of, list(places), padded=False)


def _steps(value: Any) -> int:
    return 0 if value is None else len(value)


def _uneven(source: Source, language: Mapping[str, Any], places: Mapping[str, Sentence]) -> list[str]:
    """Clips with another number of steps in one modality than in another; empty sequences are absent ones."""
    stores = [(language, "embedding_indexes")]
    for name in FEATURES.values():
        if source.named(name) is not None:
            stores.append((_by_text(_tree(source, name)), "features"))
    found = []
    for clip, place in places.items():
        steps = {_steps(place.of(store.get(place.key) or {}, what)) for store, what in stores} - {0}
        if len(steps) > 1:
            found.append(f"{clip} ({', '.join(map(str, sorted(steps)))})")
    return found


# ------------------------------------------------------------------------------------------------- word times
def _words(
    rows: Sequence[Mapping[str, Any]], places: Mapping[str, Sentence], language: Mapping[str, Any]
) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """Timed words by clip, and how many clips have times that do not fit their words."""
    found: dict[str, list[dict[str, Any]]] = {}
    unplaced = 0
    for row in rows:
        place = places[row["clip_id"]]
        record = language[place.key]
        intervals, text = place.of(record, "intervals"), row["text"]
        if intervals is None or not len(intervals) or not text:
            continue
        given = place.of(record, "features")
        spoken = [text_of(word) for word in given] if given is not None and len(given) else text.split()
        timed = _timed(spoken, intervals, text)
        if timed:
            found[row["clip_id"]] = timed
        else:
            unplaced += 1
    return found, unplaced


def _timed(words: Sequence[str], intervals: Any, text: str) -> list[dict[str, Any]]:
    """Words with their times from the first one's start; empty where the two do not fit."""
    try:
        seconds = matrix(intervals, 2, "intervals").astype(np.float64)
        locate(words, text)
    except (FormatError, ClipError):
        return []
    if len(seconds) != len(words) or not np.isfinite(seconds).all() or (seconds[:, 1] < seconds[:, 0]).any():
        return []
    seconds = seconds - seconds[:, 0].min()
    return [
        {"text": word, "start_s": float(start), "end_s": float(end), "score": 1.0}
        for word, (start, end) in zip(words, seconds, strict=True)
    ]
