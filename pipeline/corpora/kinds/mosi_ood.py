"""CMU-MOSI with the out-of-distribution splits of CLUE or CIDer: MOSI's own layout, id lists laid over it.

`settings: {splits: PATH}` names, below the corpus' folder, where the lists are:

    a folder      train, valid (or dev), test_IID (or test) and test_OOD, each a .txt with one id a line, or a
                  .pkl of CLUE: [(features, label, id)], of which the ids are read and nothing else
    a .json file  {split: [ids]}
    a .csv file   columns id and split
    a .pkl file   {split: {id: [ids]}}, as CIDer's

Ids are `video$_$clip`, `video_clip` or, as CMU's SDK counts, `video[i]`: the i-th clip of the video, from 0.
test_IID becomes the split `test`, test_OOD `test_ood`. Clips of no list are left out. In CLUE's files for
MOSI both test lists are the same (https://github.com/Teng-Sun/CLUE_model/issues/2): that is said, and the
clips are `test`. A repaired partition: https://github.com/gw-zhong/CIDer
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.core.vocabulary import SEPARATOR, TEST, TEST_OOD, TRAIN, VALID
from pipeline.corpora.clips import natural_key
from pipeline.corpora.kinds import mosi
from pipeline.corpora.survey import CorpusClip, CorpusSurvey, Labelling, read_tree
from pipeline.corpora.tables.csv import decoded, read_table
from pipeline.corpora.tables.values import SPLIT_NAMES
from pipeline.formats.source import below, understood
from pipeline.formats.text import text_of
from pipeline.params.params import DatasetParams

LABELLING = Labelling(label_range=(-3.0, 3.0), language="en", metrics="mmsa")
PLACED = (TEST, TEST_OOD, TRAIN, VALID)  # of what is in both tests, TEST counts
EXPECTED = "train, valid (or dev), test_IID (or test), test_OOD"


class MosiOodSettings(mosi.MosiSettings):
    """MOSI's, and where the id lists are."""

    splits: str = "splits"
    """folder or file of id lists, relative to the corpus' folder"""


SETTINGS = MosiOodSettings


def survey(name: str, dataset: DatasetParams, settings: MosiOodSettings) -> CorpusSurvey:
    """MOSI's clips with the splits of the lists."""
    found = mosi.survey(name, dataset, settings)
    found.notes = [note for note in found.notes if note.check != "standard folds"]
    with understood(f"{dataset.root} (kind {dataset.kind})"):
        lists = _lists(found, Path(dataset.root), settings.splits, f"datasets.{name}.settings.splits")
    if not lists or found.problems:
        return found
    known = _names_of(found.clips)
    inside, outside = ({known.get(one, one) for one in lists.get(split, ())} for split in (TEST, TEST_OOD))
    if both := sorted(inside & outside):
        same = "are identical" if inside == outside else f"share {len(both)} clips"
        message = (
            f"test_IID and test_OOD {same} (the known defect of CLUE's files for MOSI): clips in both "
            "count as test (IID); out-of-distribution results need repaired lists, e.g. CIDer's"
        )
        found.note("test lists", message, both, "warning")
    placed: dict[str, str] = {}
    strange: list[str] = []
    for split in PLACED:
        for given in lists.get(split, ()):
            clip = known.get(given)
            if clip is None:
                strange.append(f"{given} ({split})")
            elif placed.setdefault(clip, split) != split and {placed[clip], split} != {TEST, TEST_OOD}:
                message = (
                    f"{settings.splits}: clip {clip} is in both {placed[clip]} and {split}; keep it in one"
                )
                found.reject("id in two splits", message)
    if not placed:
        message = (
            f"no id of the lists is in label.csv, e.g. {strange[0] if strange else 'none'}; expected "
            f"video{SEPARATOR}clip, video_clip or video[i]"
        )
        found.reject("ids", message)
    elif strange:
        message = f"{len(strange)} ids of the lists have no row in label.csv"
        found.note("ids without a row", message, strange, "warning")
    unlisted = [clip.id for clip in found.clips if clip.id not in placed]
    if unlisted and placed:
        found.note("clips in no list", f"{len(unlisted)} clips are in no list and are omitted", unlisted)
    found.clips = [replace(clip, split=placed[clip.id]) for clip in found.clips if clip.id in placed]
    return found


def _names_of(clips: list[CorpusClip]) -> dict[str, str]:
    """Every way to write an id -> the id."""
    names: dict[str, str] = {}
    places: dict[str, int] = defaultdict(int)
    for clip in sorted(clips, key=lambda clip: natural_key(clip.clip_id)):
        video, place = clip.video_id, places[clip.video_id]
        names |= dict.fromkeys((clip.id, f"{video}_{clip.clip_id}", f"{video}[{place}]"), clip.id)
        places[video] += 1
    return names


# ------------------------------------------------------------------------------------------------------ lists
def _lists(found: CorpusSurvey, root: Path, given: str, setting: str) -> dict[str, list[str]]:
    """Ids by split; empty and problems where there are none."""
    place = below(root, given)
    if place is None or not place.exists():
        message = (
            f"{setting} is {given!r}: no such file or folder in {str(root)!r}; expected a folder of id "
            f"lists ({EXPECTED}) or a .json, .csv or .pkl file"
        )
        found.reject("splits", message)
        return {}
    raw: dict[str, list[str]] = {}
    if place.is_dir():
        for path in sorted(place.iterdir()):
            if path.suffix.lower() in (".txt", ".pkl") and not path.name.startswith("."):
                raw.setdefault(path.stem, []).extend(_ids_of(found, path))
    else:
        raw = _of_file(found, place)
    lists: dict[str, list[str]] = {}
    for name, ids in raw.items():
        split = SPLIT_NAMES.get(name.strip().lower())
        if split not in PLACED:
            found.reject("splits", f"{place.name}: split {name!r}, expected {EXPECTED}")
        else:
            lists.setdefault(split, []).extend(ids)
    if not raw and not found.problems:
        found.reject("splits", f"{setting} is {given!r}: no id list in it; expected {EXPECTED}")
    return lists


def _of_file(found: CorpusSurvey, path: Path) -> dict[str, list[str]]:
    own = CorpusSurvey(str(path))
    if path.suffix.lower() == ".csv":
        columns = ("id", "split")
        lists: dict[str, list[str]] = defaultdict(list)
        for _, cells in read_table(path, own, columns, columns).rows:
            lists[cells["split"]].append(cells["id"])
        found.reject_of(own)
        return lists
    tree = read_tree(found, path)
    if tree is not None and not isinstance(tree, Mapping):
        found.reject("splits", f"{path.name}: holds a {type(tree).__name__}, expected ids by split")
    if not isinstance(tree, Mapping):
        return {}
    # beside the splits a file may hold other things, e.g. `config`
    return {
        str(name): _ids_in(found, f"{path.name}: {name}", value)
        for name, value in tree.items()
        if SPLIT_NAMES.get(str(name).lower()) in PLACED
    }


def _ids_of(found: CorpusSurvey, path: Path) -> list[str]:
    """The ids of one list."""
    if path.suffix.lower() == ".pkl":
        return _ids_in(found, path.name, read_tree(found, path))
    own = CorpusSurvey(str(path))
    text = decoded(path, own, "one id per line")
    found.reject_of(own)
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _ids_in(found: CorpusSurvey, where: str, value: Any) -> list[str]:
    """Ids of a list of ids, of CLUE's [(features, label, id)], or of {id: [ids]}."""
    if isinstance(value, Mapping):
        value = value.get("id")
    if value is None or isinstance(value, str | bytes) or not hasattr(value, "__len__"):
        if not found.problems:
            found.reject("splits", f"{where}: no ids in it; expected a list of ids")
        return []
    return [text_of(item[-1] if isinstance(item, tuple | list) and item else item) for item in value]
