"""What the trials of a search are trained and validated on: seeds on the set's own split, or folds by video.

The clips of train and valid together are dealt into K groups, a video as a whole; fold k validates on group k
and trains on all others. The test split is not among them. Rows are moved as they are: features keep the
normalisation of assemble, by mean and deviation of the set's own train split. So these two numbers a feature
are known to a fold from clips that it validates on; nothing of their labels is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core.errors import FormatError
from pipeline.core.files import replaced_folder, write_json
from pipeline.core.vocabulary import CONTEXT, TRAIN, UNLABELED, VALID

ROWS = 256  # clips that are copied at once
FILES: dict[str, Any] = {"compression": "zstd", "use_dictionary": False}
TRIED = (TRAIN, VALID)  # splits whose clips are dealt
# Files that every trial may see beside theirs, of splits without labels
BESIDE = tuple(f"{split}{kind}.parquet" for split in (UNLABELED, CONTEXT) for kind in ("", ".waveform"))
# ... and all files; stats.json counts the clips of the test split, and has nothing of their labels
SEEN = ("stats.json", *(f"{split}{kind}.parquet" for split in TRIED for kind in ("", ".waveform")), *BESIDE)


@dataclass(frozen=True)
class Resample:
    """One training and what it is validated on.

    Attributes
    ----------
    fold : from 1; 0 = the set's own split
    """

    seed: int
    fold: int = 0

    @property
    def name(self) -> str:
        """`seed-1111`, or `fold-1`."""
        return f"fold-{self.fold}" if self.fold else f"seed-{self.seed}"


def resamples(seeds: Sequence[int], folds: int) -> tuple[Resample, ...]:
    """One a seed; or, where there are folds, one a fold, all with the first seed."""
    if folds:
        return tuple(Resample(seeds[0], fold) for fold in range(1, folds + 1))
    return tuple(Resample(seed) for seed in seeds)


def deal(videos: Mapping[str, str], folds: int) -> dict[str, int]:
    """The group, 1 .. folds, of each clip; a video is in one group, and groups are of about as many clips.

    The largest video goes first, each to the group with the fewest clips so far. `videos` has the video of
    each clip, which is the clip itself where it has none. FormatError: there are fewer videos than folds.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for clip, video in videos.items():
        members[video].append(clip)
    if len(members) < folds:
        raise FormatError(
            f"{folds} folds need at least as many videos, and there are {len(members)}; use fewer folds"
        )
    sizes, group = [0] * folds, {}
    for video in sorted(members, key=lambda name: (-len(members[name]), name)):
        smallest = sizes.index(min(sizes))
        sizes[smallest] += len(members[video])
        group.update(dict.fromkeys(members[video], smallest + 1))
    return group


def videos_of(assembled: Path) -> dict[str, str]:
    """The video of each clip of train and valid."""
    found: dict[str, str] = {}
    for split in TRIED:
        table = pq.read_table(assembled / f"{split}.parquet", columns=["clip_id", "video_id"])
        for clip, video in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
            found[clip] = clip if video is None else video
    return found


def link_splits(assembled: Path, folder: Path) -> None:
    """Links to all of an assembled set that a trial may see; the test split is not among it."""
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    _link(assembled, folder, SEEN)


def write_fold(assembled: Path, group: Mapping[str, int], fold: int, out: Path) -> None:
    """The assembled set of a fold: its train and valid, links to the rest, and stats.json with their counts.

    Features and sound are copied some rows at a time, those of train before those of valid.
    """
    stats = json.loads((assembled / "stats.json").read_text(encoding="utf-8"))
    with replaced_folder(out) as folder:
        for kind in ("", ".waveform"):
            sources = [assembled / f"{split}{kind}.parquet" for split in TRIED]
            if not all(source.exists() for source in sources):
                continue
            schema = pq.read_schema(sources[0])
            with ExitStack() as ends:
                parts = {
                    split: ends.enter_context(
                        pq.ParquetWriter(folder / f"{split}{kind}.parquet", schema, **FILES)
                    )
                    for split in TRIED
                }
                for source in sources:
                    for rows in pq.ParquetFile(source).iter_batches(ROWS):
                        inside = pa.array([group[clip] == fold for clip in rows["clip_id"].to_pylist()])
                        parts[VALID].write_batch(rows.filter(inside).cast(schema))
                        parts[TRAIN].write_batch(rows.filter(pc.invert(inside)).cast(schema))
        _link(assembled, folder, BESIDE)
        sizes = {VALID: sum(number == fold for number in group.values())}
        sizes[TRAIN] = len(group) - sizes[VALID]
        write_json({**stats, "counts": {**stats["counts"], **sizes}}, folder / "stats.json")


def _link(assembled: Path, folder: Path, names: Sequence[str]) -> None:
    for file in (assembled / name for name in names):
        if file.exists():
            (folder / file.name).symlink_to(file.resolve())
