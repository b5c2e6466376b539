"""Clip table, transcripts and features of a dataset joined into one training set.

`data/assembled/<set>/`: `train.parquet`, `valid.parquet`, `test.parquet`, `unlabeled.parquet` (all four are
always written), where there are such clips `test_ood.parquet` and `context.parquet` (what was said before
clips of the others), and `stats.json`. A row is a clip, rows are sorted by clip id:

==================  =======================================  ============================================
clip table columns  as there, without `text`                 split, label, path, duration_s, ...
transcript          string                                   the transcript, null where there is none
token_ids           list<int32>                              only of imports that lack some transcripts
<m>                 list<fixed_size_list<float32>[D]>        m = text, audio, visual; null where not present
<m>_present         bool
==================  =======================================  ============================================

The transcript cannot be called `text`, because that column holds the sequences of the text modality. What
happens to the sequences is said in sequences.py, and before that, with `align: words`, in aligned.py.

Where a waveform is chosen, each split has a second file, `train.waveform.parquet` ..., with the same clips in
the same order: `clip_id` and `waveform`, list<int16>, the whole sound at 16 kHz, null where there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.core.files import json_hash, writing
from pipeline.core.vocabulary import ALL_SPLITS, ASSEMBLED_FORMAT, CONTEXT, MODALITIES, NONE, UNLABELED
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.corpora.clips import facts_of, target_column
from pipeline.datasets.assembly import protocol
from pipeline.datasets.assembly.aligned import WORDS, Alignment
from pipeline.datasets.assembly.files import splits_of, write_set
from pipeline.datasets.assembly.gathered import FeatureSource, GatheredSequences, gather
from pipeline.datasets.assembly.sequences import UNSCALED, choose_columns, fit
from pipeline.params.assemble import AssembleParams, ProtocolParams
from pipeline.store.shard import FeatureRow

if TYPE_CHECKING:
    from pipeline.store.store import FeatureStore


@dataclass
class AssembleReport:
    """What became of a dataset's clips; printed, it is a summary.

    Attributes
    ----------
    feature_set : SHA-256 (hex) of how the features were made; runs with equal ones are comparable
    counts : as in stats.json. Per split the clips, and how many have each modality; `left_out`: reason ->
        clips; `without`: modality -> status -> kept clips; `ignored`: modality -> feature rows whose clip is
        not in the clip table
    left_out : clip id -> why it is in no split
    """

    dataset: str
    feature_set: str
    counts: dict[str, Any]
    left_out: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.dataset}: feature set {self.feature_set[:12]}"]
        for split in splits_of(self.counts):
            clips, *modalities = self.counts[split].items()
            lines.append(f"  {split}: {clips[1]} clips ({', '.join(f'{n} with {m}' for m, n in modalities)})")
        lines += [f"  left out: {clip_id}: {reason}" for clip_id, reason in self.left_out.items()]
        lines += [f"  {n} {m} rows of unknown clips ignored" for m, n in self.counts["ignored"].items() if n]
        return "\n".join(lines)


def assemble(
    clips: pa.Table,
    transcripts: pa.Table,
    features: dict[str, FeatureStore],
    params: AssembleParams,
    out: Path,
    dataset: str,
    waveform: FeatureStore | None = None,
) -> AssembleReport:
    """Write the training set of a dataset; equal input gives equal bytes, however its rows lie in shards.

    A clip is left out only when it has no label (outside the unlabeled split) or none of the modalities, or,
    with `align: words`, no word times. Its waveform does not count: methods that do not read it would have
    nothing of the clip.

    Parameters
    ----------
    features : the store of each modality that `params` chooses; others are not looked at
    out : the folder to write; it is replaced as a whole
    waveform : the store that `params.waveform` names

    Raises
    ------
    ParamsError : no modality is chosen, a pattern of `columns` matches nothing, or features stand where a
        waveform belongs (or the other way round)
    FormatError : features that are missing, of another dataset, or not finite
    MsaError : no clip to train with, or a modality that no train clip has
    """
    where = f"assemble.{dataset}"
    folders = {m: folder for m in MODALITIES if (folder := getattr(params, m)) != NONE}
    if not folders:
        raise ParamsError(f"{where}: text, audio and visual are all `none`; name features for at least one")
    clips, not_chosen = protocol.apply(clips, params.protocol, where)
    known = set(clips["clip_id"].to_pylist())
    chosen = {m: _checked(features.get(m), known, f"{where}.{m}", folder) for m, folder in folders.items()}
    sources = dict(chosen)
    if params.waveform != NONE:
        sources["waveform"] = _checked(waveform, known, f"{where}.waveform", params.waveform)

    entries = {m: _entry(m, source.meta, params, where) for m, source in chosen.items()}
    kept, left_out = _keep(clips, chosen, not_chosen)
    ids = clips["clip_id"].to_pylist()
    wanted = {ids[row] for row in kept}
    alignment = Alignment(transcripts, wanted, list(chosen), params, where) if params.align == WORDS else None
    texts = dict(zip(transcripts["clip_id"].to_pylist(), transcripts["text"].to_pylist(), strict=True))
    tokens: dict[str, list[int]] = {}
    sequences: dict[str, GatheredSequences] = {}
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    for modality, source in chosen.items():
        names, rows = source.meta["column_names"], source.rows(wanted)
        if modality == "text":
            rows = _noting_tokens(rows, texts, tokens)
        if alignment is not None:
            rows = alignment.rows(modality, rows, names)
        key = f"{where}.{modality}"
        sequences[modality] = gather(rows, names, entries[modality], key, out.parent)
    if alignment is not None:
        alignment.check()
        left_out |= {clip_id: f"not aligned: {reason}" for clip_id, reason in alignment.unaligned.items()}
        kept = [row for row in kept if ids[row] not in alignment.unaligned]

    left_out = dict(sorted(left_out.items()))
    table = clips.take(pa.array(kept, pa.int64()))
    clip_ids, splits = table["clip_id"].to_pylist(), table["split"].to_pylist()
    counts = _count(splits, clip_ids, left_out, sources)
    counts["ignored"] = {m: len(source.clip_ids - known) for m, source in sources.items()}
    train_clips = clip_ids[: counts["train"]["clips"]]  # the train split comes first
    if not train_clips:
        raise MsaError(
            f"{dataset}: no clip to train with; clips by split: {_listed(Counter(splits)) or 'none'}; "
            f"left out: {_listed(counts['left_out']) or 'none'}. Check splits and labels of the label file"
        )
    for modality, found in sequences.items():
        if not found.has_real(train_clips):
            raise _unusable(f"{where}.{modality}", len(train_clips), "a usable step of it")
        entry = entries[modality]
        entry["mean"], entry["sd"] = fit(partial(found.blocks, train_clips), entry)
    sound = None
    if "waveform" in sources:
        if not counts["train"]["waveform"]:
            raise _unusable(f"{where}.waveform", len(train_clips), "sound")
        sound = GatheredSequences(out.parent, np.dtype(np.int16), 1)
        for row in sources["waveform"].rows(wanted):
            if row.features is not None:
                sound.add(row.clip_id, row.features)

    facts, feature_set = facts_of(clips), _fingerprint(entries, sources)
    stats = {
        "format": ASSEMBLED_FORMAT,
        "dataset": dataset,
        "task": facts.task,
        "label_range": facts.label_range,
        "class_names": facts.class_names,
        "feature_set": feature_set,
        "counts": counts,
        "left_out": left_out,
        "modalities": entries,
    }
    if params.protocol != ProtocolParams():  # sets without stay as they were
        stats["protocol"] = params.protocol.model_dump(mode="json")
    if "waveform" in sources:
        stats["waveform"] = _origin(sources["waveform"].meta) | {"sample_rate": SAMPLE_RATE}
    transcript = pa.array([texts.get(clip_id) for clip_id in clip_ids], pa.string())
    table = table.drop_columns(["text"]).append_column("transcript", transcript)
    ids_of = [tokens.get(clip_id) for clip_id in clip_ids]
    if with_ids := len(ids_of) - ids_of.count(None):
        stats["token_ids"] = with_ids
        table = table.append_column("token_ids", pa.array(ids_of, pa.list_(pa.int32())))
    write_set(table, sequences, sound, stats, out)
    return AssembleReport(dataset, feature_set, counts, left_out)


def _unusable(key: str, clips: int, what: str) -> MsaError:
    return MsaError(
        f"{key}: none of {clips} train clips has {what}; set it to `none`, or see the errors in its features"
    )


# ------------------------------------------------------------------------------------------------ joining
def _checked(store: FeatureStore | None, known: set[str], key: str, value: str) -> FeatureSource:
    """The store, when it is one of this dataset and of the right kind."""
    source = None if store is None else FeatureSource(store)
    if source is None or not source.clip_ids:
        raise FormatError(
            f"{key} is {value!r}, but there are no features; run that stage, or set it to `none`"
        )
    if known.isdisjoint(source.clip_ids):
        raise FormatError(
            f"{key} is {value!r}: none of its {len(source.clip_ids)} clips is in the clip table (there: "
            f"{min(source.clip_ids)!r}, here: {min(known, default=None)!r}); are they of another dataset?"
        )
    found = (source.meta["dtype"], source.meta["frame_rate"])
    if key.endswith(".waveform") and found != ("int16", SAMPLE_RATE):
        raise ParamsError(
            f"{key} is {value!r}, {found[0]} features at {found[1]} frames a second; expected the sound "
            f"itself (int16, {SAMPLE_RATE} Hz), as an encoder of kind waveform16k stores it"
        )
    if not key.endswith(".waveform") and found[0] == "int16":
        raise ParamsError(
            f"{key} is {value!r}, the sound itself; name it under {key.rpartition('.')[0]}.waveform, and "
            "features (or `none`) here"
        )
    return source


def _keep(
    clips: pa.Table, chosen: dict[str, FeatureSource], not_chosen: dict[str, str]
) -> tuple[list[int], dict[str, str]]:
    """Row numbers of the kept clips, ordered by split and clip id; and the reasons of the others."""
    kept, left_out = [], {}
    target = target_column(facts_of(clips).task)
    columns = (clips[name].to_pylist() for name in ("clip_id", "split", target))
    for i, (clip_id, split, label) in enumerate(zip(*columns, strict=True)):
        missing = {modality: source.missing(clip_id) for modality, source in chosen.items()}
        if clip_id in not_chosen:
            left_out[clip_id] = not_chosen[clip_id]
        elif label is None and split not in (UNLABELED, CONTEXT):
            left_out[clip_id] = "no label"
        elif all(missing.values()):
            details = "; ".join(f"{modality} {reason}" for modality, reason in missing.items())
            left_out[clip_id] = f"no modality: {details}"
        else:
            kept.append((ALL_SPLITS.index(split), clip_id, i))
    return [i for _, _, i in sorted(kept)], left_out


def _count(
    splits: list[str], clip_ids: list[str], left_out: dict[str, str], sources: dict[str, FeatureSource]
) -> dict[str, Any]:
    status = {
        modality: [source.missing(clip_id).partition(":")[0] for clip_id in clip_ids]
        for modality, source in sources.items()
    }
    counts: dict[str, Any] = {
        split: {"clips": splits.count(split)}
        | {
            modality: sum(own == split and not missing for own, missing in zip(splits, found, strict=True))
            for modality, found in status.items()
        }
        for split in splits_of(splits)
    }
    counts["left_out"] = Counter(sorted(reason.partition(":")[0] for reason in left_out.values()))
    counts["without"] = {m: Counter(sorted(filter(None, found))) for m, found in status.items()}
    return counts


def _noting_tokens(
    rows: Iterable[FeatureRow], texts: Mapping[str, str | None], tokens: dict[str, list[int]]
) -> Iterator[FeatureRow]:
    """The rows; ids of clips without text go into `tokens`, so that an encoder can be fine-tuned."""
    for row in rows:
        if row.token_ids is not None and not texts.get(row.clip_id):
            tokens[row.clip_id] = row.token_ids.tolist()
        yield row


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _origin(meta: dict[str, Any]) -> dict[str, Any]:
    """How features were made."""
    return {
        "encoder": meta["encoder"],
        "fingerprint": meta["fingerprint"],
        "provenance": {key: meta[key] for key in sorted(meta) if key != "column_names"},
    }


def _entry(modality: str, meta: dict[str, Any], params: AssembleParams, where: str) -> dict[str, Any]:
    """The modality's part of stats.json, without its statistics."""
    names = list(meta["column_names"])
    if len(names) != meta["dim"]:
        raise FormatError(f"{where}.{modality}: {len(names)} column names for {meta['dim']} columns")
    patterns = params.columns.get(modality)  # type: ignore[call-overload]
    columns = choose_columns(names, patterns, f"{where}.columns.{modality}") if patterns else names
    scaled = modality in params.normalize
    return {
        **_origin(meta),
        "dim": len(columns),
        "columns": columns,
        "max_steps": getattr(params.max_steps, modality),
        "shorten": getattr(params.shorten, modality),
        "normalized": [name for name in columns if scaled and name not in UNSCALED],
        **({"align": params.align} if params.align == WORDS else {}),  # sets without stay as they were
    }


def _fingerprint(entries: dict[str, dict[str, Any]], sources: dict[str, FeatureSource]) -> str:
    keys = ("fingerprint", "columns", "max_steps", "shorten", "normalized", "align")
    identity = {
        modality: {key: entry[key] for key in keys if key in entry} for modality, entry in entries.items()
    }
    if "waveform" in sources:
        identity["waveform"] = {"fingerprint": sources["waveform"].meta["fingerprint"]}
    return json_hash(identity)
