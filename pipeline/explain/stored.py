"""Clips of the set that a run was trained on, as the files of a project have them: nothing is encoded again.

`data/assembled/<set>` says which clips there are, `data/features` what the encoders made of them, and
`data/transcripts` what is said when. Media are opened for pictures and waveform alone, where they are there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.core import paths
from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.core.vocabulary import ABSENT, CONTEXT, TEST
from pipeline.datasets.assembly.gathered import FeatureSource
from pipeline.evaluation.evaluate import stats_of_run
from pipeline.params.params import Params
from pipeline.predict.prediction import ClipFeatures
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore
from pipeline.training.runs import TrainedRun
from pipeline.transcripts.stage import Transcript
from pipeline.transcripts.table import LABEL

COLUMNS = ("clip_id", "video_id", "position", "path", "start_s", "end_s", "language", "transcript")
ABSENT_ROW = "not extracted"


@dataclass
class StoredClips:
    """The test clips of a run's training set.

    Attributes
    ----------
    folder : the assembled set
    table : a row a clip of the test split
    said : the same of all utterances that may stand before them
    """

    run: TrainedRun
    params: Params
    folder: Path
    table: pa.Table
    said: pa.Table

    @classmethod
    def of(cls, run: TrainedRun, params: Params) -> StoredClips:
        """Of the project in the current folder; MsaError where the set is not there, or not the run's."""
        folder = paths.assembled_folder(run.config["dataset"])
        stats = stats_of_run(folder, run.folder, run.config)
        label = "class_label" if stats["task"] == "classification" else "label"
        table = _read(folder / f"{TEST}.parquet", [*COLUMNS, label]).rename_columns([*COLUMNS, "label"])
        before = folder / f"{CONTEXT}.parquet"
        earlier = [_read(before, list(COLUMNS))] if before.exists() else []
        said = pa.concat_tables([table.select(COLUMNS), *earlier], promote_options="default")
        return cls(run, params, folder, table, said)

    @property
    def labels(self) -> dict[str, float]:
        """Clip id -> label, or index of the class; of those that have one."""
        pairs = zip(self.table["clip_id"].to_pylist(), self.table["label"].to_pylist(), strict=True)
        return {clip_id: float(label) for clip_id, label in pairs if label is not None}

    def features(self, clip_ids: Collection[str]) -> dict[str, tuple[ClipFeatures, list[ClipFeatures]]]:
        """What the encoders made of test clips, and of the utterances before each, oldest first.

        MsaError where there is no such clip, or no features of the set.
        """
        known = self.table["clip_id"].to_pylist()
        if unknown := [clip_id for clip_id in clip_ids if clip_id not in known]:
            raise MsaError(
                f"--clip {unknown[0]}: not among the {len(known)} test clips of {self.folder}, such "
                f"as {', '.join(known[:3])} ..."
            )
        before = {clip_id: self._before(clip_id) for clip_id in clip_ids}
        found = self._gathered({*clip_ids, *(one for ids in before.values() for one in ids)})
        return {clip_id: (found[clip_id], [found[one] for one in before[clip_id]]) for clip_id in clip_ids}

    def _before(self, clip_id: str) -> list[str]:
        """The utterances that a method with a context reads before a clip, as in training_set.py."""
        if not self.run.reading.context:
            return []
        rows = self.said.select(["position", "clip_id", "video_id"]).to_pylist()
        (video,) = (row["video_id"] for row in rows if row["clip_id"] == clip_id)
        beside = sorted((row["position"], row["clip_id"]) for row in rows if row["video_id"] == video)
        order = [name for _, name in beside]
        place = order.index(clip_id)
        return order[max(place - self.run.reading.context, 0) : place]

    def _gathered(self, wanted: Collection[str]) -> dict[str, ClipFeatures]:
        """Rows of the stores, and what is said, by clip id."""
        rows: dict[str, dict[str, FeatureRow]] = {clip_id: {} for clip_id in wanted}
        columns: dict[str, list[str]] = {}
        for stream, entry in self.run.needed.items():
            source, key = self._source(stream, entry), entry["fingerprint"]
            columns[key] = source.meta["column_names"]
            for row in source.rows(wanted):
                rows[row.clip_id][key] = row
            for clip_id in wanted:
                rows[clip_id].setdefault(key, FeatureRow(clip_id, "", ABSENT, ABSENT_ROW))
        words = self._words(wanted)
        root = self._root()
        found = {}
        chosen = self.said.filter(pc.is_in(self.said["clip_id"], value_set=pa.array(list(wanted))))
        for row in chosen.to_pylist():
            clip_id = row["clip_id"]
            path = root / row["path"] if row["path"] else Path(clip_id)
            spoken = Transcript(
                clip_id,
                path,
                row["start_s"],
                row["end_s"],
                row["language"],
                text=row["transcript"],
                source=LABEL,
                words=words.get(clip_id),
            )
            found[clip_id] = ClipFeatures(clip_id, path, spoken, rows[clip_id], columns)
        return found

    def _source(self, stream: str, entry: dict[str, Any]) -> FeatureSource:
        """The store that a stream of the run came from."""
        dataset = self.run.config["dataset"]
        chosen = self.params.assemble.get(dataset)
        if chosen is None:
            raise ParamsError(f"params.yaml has no assemble.{dataset}, which says where its features are")
        folder = Path("data/features") / getattr(chosen, stream)
        source = FeatureSource(FeatureStore(folder))
        if not source.meta or source.meta["fingerprint"] != entry["fingerprint"]:
            reason = "has no features" if not source.meta else "has features with other settings"
            raise FormatError(
                f"{folder}: {reason}, but {self.run.folder} was trained on {stream} "
                f"{entry.get('encoder')!r}; fetch them (`dvc pull`), or run their stage; --video explains a "
                "clip without them"
            )
        return source

    def _words(self, wanted: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """Word times, of the clips that have any."""
        dataset = self.params.assemble[self.run.config["dataset"]].dataset
        path = paths.transcript_table(dataset)
        if not path.exists():
            return {}
        table = _read(path, ["clip_id", "words"])
        chosen = table.filter(pc.is_in(table["clip_id"], value_set=pa.array(list(wanted)))).to_pylist()
        return {row["clip_id"]: row["words"] for row in chosen if row["words"]}

    def _root(self) -> Path:
        """The folder that the media lie in."""
        corpus = self.params.corpora.get(self.params.assemble[self.run.config["dataset"]].dataset)
        return Path() if corpus is None else Path(corpus.root)


def _read(path: Path, columns: Iterable[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise FormatError(f"{path}: cannot be read ({error}); run the assemble stage again") from error
