"""UR-FUNNY's six pickles: https://github.com/ROC-HCI/UR-FUNNY (README, extracted_features.txt).

    data_folds.pkl, humor_label_sdk.pkl    as in the raw corpus (corpora/kinds/urfunny.py)
    language_sdk.pkl            as there, with punchline_embedding_indexes [T], context_embedding_indexes
                                [sentence][T] and in some copies the words, punchline_features [T] and
                                context_features [sentence][T]
    openface_features_sdk.pkl   {id: punchline_features [T][371], context_features [sentence][T][371]}
    covarep_features_sdk.pkl    the same with 81 columns
    word_embedding_list.pkl     GloVe 840B, 300 numbers a word; the indexes above are its rows

All features are averages over words: the T of a sentence are its words in all modalities. Version 1 of the
corpus has `word_embedding_indexes_sdk.pkl` without sentences, and 75 columns of OpenFace.

Clips are those of the raw corpus, too. Word times are counted from the first word of each sentence.
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
from pipeline.core.vocabulary import CONTEXT
from pipeline.corpora.kinds.urfunny import FOLDS, LABEL_FILE, LABELLING, LANGUAGE, PUNCHLINE, sentence_text
from pipeline.formats.source import Source, understood
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import clip_of, index_of, matrix, split_of
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
        for names in ((FOLDS,), TEXTS, (LABEL_FILE,))
        if source.root.is_file() or not source.named(*names)
    ]
    return f"no {', '.join(lacking)}" if lacking else ""


def read(source: Source, params: ImportParams) -> Imported:
    """What the files hold."""
    folds, language, labels = (_tree(source, *names) for names in ((FOLDS,), TEXTS, (LABEL_FILE,)))
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
                for row, sentence in _rows(source, key, language[key], split, labels[key]):
                    rows.append(row)
                    places[row["clip_id"]] = sentence
        modalities: dict[str, FeatureSequences] = {}
        if (path := source.named(GLOVE)) is not None:
            modalities["text"] = _glove(path, source.tree(path), language, places)
        stores = {name: _tree(source, file) for name, file in FEATURES.items() if source.named(file)}
        for modality, records in stores.items():
            modalities[modality] = _features(modality, f"{source}: {FEATURES[modality]}", records, places)
        if not modalities:
            known = ", ".join((GLOVE, *FEATURES.values()))
            raise FormatError(f"{source}: no features; expected one of {known}")
        words, unplaced = _words(rows, places, language)
        uneven = _uneven(places, language, stores)
    notes = [f"{len(lacking)} ids of {FOLDS} have no text or no label: {listed(lacking)}"] if lacking else []
    if unplaced:
        notes.append(f"{unplaced} clips have no word times: their words differ from their sentence")
    strays = sorted(labels.keys() - {place.key for place in places.values()} - set(lacking))
    if strays:
        notes.append(f"{len(strays)} labels are in no fold and are skipped: {listed(strays)}")
    if uneven:
        notes.append(f"{len(uneven)} clips differ in steps between modalities: {listed(uneven)}")
    return Imported(rows, modalities, LABELLING, words, aligned=not uneven, notes=notes)


def _tree(source: Source, *names: str) -> dict[str, Any]:
    """A pickle's dict by id, which some copies have as numbers, others as text; or by split."""
    path = source.named(*names)
    if path is None:
        raise FormatError(f"{source}: no {names[0]}; expected the folder of UR-FUNNY's pickles")
    tree = source.tree(path)
    if not isinstance(tree, Mapping):
        raise FormatError(f"{path}: contains a {type(tree).__name__}; expected a dict by id, or by split")
    return {text_of(key): value for key, value in tree.items()}


def _rows(
    source: Source, key: str, record: Any, split: str, label: Any
) -> Iterator[tuple[dict[str, Any], Sentence]]:
    """The context's sentences in their order, then the punchline."""
    if not isinstance(record, Mapping) or "punchline_embedding_indexes" not in record:
        raise FormatError(f"{source}: {LANGUAGE}: {key}: no punchline_embedding_indexes")
    contexts = (record.get(f"context_{what}") for what in ("sentences", "embedding_indexes"))
    count = len(next((context for context in contexts if context is not None), ()))
    for index in (*range(count), None):
        sentence = Sentence(key, index)
        row: dict[str, Any] = {
            "clip_id": clip_of(source, key, PUNCHLINE if index is None else f"c{index}"),
            "video_id": key,
            "split": split if index is None else CONTEXT,
            "text": sentence_text(sentence.of(record, "sentence")) or None,
            "position": count if index is None else index,
        }
        if index is None:
            row["class_label"] = index_of(label, len(LABELLING.classes), f"{source}: {LABEL_FILE}: {key}")
        yield row, sentence


# ------------------------------------------------------------------------------------------------- modalities
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
                f"{path}: word index {strange[0]:g} of clip {clip}; the list has {len(vectors)} words"
            )
        return vectors[at.astype(np.int64)]

    return FeatureSequences(numbered("glove", vectors.shape[1]), rows_of, list(places), padded=False)


def _features(
    modality: str, where: str, records: Mapping[str, Any], places: Mapping[str, Sentence]
) -> FeatureSequences:
    def value_of(clip: str) -> Any:
        return places[clip].of(records.get(places[clip].key) or {}, "features")

    width = next((len(value[0]) for value in map(value_of, places) if value is not None and len(value)), 0)
    if not width:
        raise FormatError(f"{where}: no features for any id in {FOLDS}")

    def rows_of(clip: str) -> np.ndarray | None:
        value = value_of(clip)
        return None if value is None or not len(value) else matrix(value, width, f"{where}: clip {clip}")

    names = NAMES[modality]
    columns = names if width == len(names) else numbered(modality, width)
    return FeatureSequences(columns, rows_of, list(places), padded=False)


def _uneven(
    places: Mapping[str, Sentence], language: Mapping[str, Any], stores: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Clips with another number of steps in one modality than in another; empty sequences are absent ones."""
    found = []
    for clip, place in places.items():
        values = [place.of(language[place.key], "embedding_indexes")]
        values += [place.of(store.get(place.key) or {}, "features") for store in stores.values()]
        steps = {len(value) for value in values if value is not None} - {0}
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
