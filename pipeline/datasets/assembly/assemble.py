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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import FormatError, MsaError, ParamsError
from pipeline.core.files import json_hash
from pipeline.core.vocabulary import ALL_SPLITS, ASSEMBLED_FORMAT, CONTEXT, MODALITIES, NONE, OK, UNLABELED
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.corpora.clips import facts_of, target_column
from pipeline.datasets.assembly import protocol
from pipeline.datasets.assembly.aligned import WORDS, align
from pipeline.datasets.assembly.files import Joined, splits_of, write_set
from pipeline.datasets.assembly.sequences import UNSCALED, choose_columns, fit, scale, shorten, steps_of
from pipeline.params.assemble import AssembleParams, ProtocolParams
from pipeline.store.shard import Features

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
    features: dict[str, Features],
    params: AssembleParams,
    out: Path,
    dataset: str,
    waveform: FeatureStore | None = None,
) -> AssembleReport:
    """Write the training set of a dataset; equal input gives equal bytes.

    A clip is left out only when it has no label (outside the unlabeled split) or none of the modalities, or,
    with `align: words`, no word times. Its waveform does not count: methods that do not read it would have
    nothing of the clip.

    Parameters
    ----------
    features : the store of each modality that `params` chooses; others are not looked at
    out : the folder to write; it is replaced as a whole
    waveform : the store that `params.waveform` names; it is read clip by clip

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
    stores = dict(chosen)
    if params.waveform != NONE:
        ledger = waveform.ledger() if waveform is not None else None
        stores["waveform"] = _checked(ledger, known, f"{where}.waveform", params.waveform)

    unaligned: dict[str, str] = {}
    if params.align == WORDS:
        chosen, unaligned = align(chosen, transcripts, params, where)
        stores |= chosen
    kept, left_out = _keep(clips, chosen, not_chosen, unaligned)
    table = clips.take(pa.array(kept, pa.int64()))
    clip_ids, splits = table["clip_id"].to_pylist(), table["split"].to_pylist()
    counts = _count(splits, clip_ids, left_out, stores)
    counts["ignored"] = {modality: len(store.rows.keys() - known) for modality, store in stores.items()}
    train_clips = counts["train"]["clips"]
    if train_clips == 0:
        raise MsaError(
            f"{dataset}: no clip to train with; clips by split: {_listed(Counter(splits)) or 'none'}; "
            f"left out: {_listed(counts['left_out']) or 'none'}. Check splits and labels of the label file"
        )
    entries: dict[str, dict[str, Any]] = {}
    joined: dict[str, Joined] = {}
    for modality, store in chosen.items():
        entry = entries[modality] = _entry(modality, store.meta, params, where)
        part = joined[modality] = _join(clip_ids, store, entry, f"{where}.{modality}")
        steps = int(part.offsets[train_clips])  # the train split comes first
        if not part.real[:steps].any():
            raise _unusable(f"{where}.{modality}", train_clips, "a usable step of it")
        entry["mean"], entry["sd"] = fit(part.values[:steps], part.real[:steps], entry)
        scale(part.values, part.real, entry)

    if "waveform" in stores and not counts["train"]["waveform"]:
        raise _unusable(f"{where}.waveform", train_clips, "sound")
    sound = waveform.stream() if waveform is not None and "waveform" in stores else None

    facts, feature_set = facts_of(clips), _fingerprint(entries, stores)
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
    if "waveform" in stores:
        stats["waveform"] = _origin(stores["waveform"].meta) | {"sample_rate": SAMPLE_RATE}
    texts = dict(zip(transcripts["clip_id"].to_pylist(), transcripts["text"].to_pylist(), strict=True))
    transcript = pa.array([texts.get(clip_id) for clip_id in clip_ids], pa.string())
    table = table.drop_columns(["text"]).append_column("transcript", transcript)
    if tokens := _tokens_without_text(clip_ids, texts, chosen.get("text")):
        stats["token_ids"] = len(tokens)
        ids = [tokens.get(clip_id) for clip_id in clip_ids]
        table = table.append_column("token_ids", pa.array(ids, pa.list_(pa.int32())))
    write_set(table, joined, sound, stats, out)
    return AssembleReport(dataset, feature_set, counts, left_out)


def _unusable(key: str, clips: int, what: str) -> MsaError:
    return MsaError(
        f"{key}: none of {clips} train clips has {what}; set it to `none`, or see the errors in its features"
    )


# ------------------------------------------------------------------------------------------------ joining
def _checked(store: Features | None, known: set[str], key: str, value: str) -> Features:
    """The store, when it is one of this dataset and of the right kind."""
    if store is None or not store.rows:
        raise FormatError(
            f"{key} is {value!r}, but there are no features; run that stage, or set it to `none`"
        )
    if known.isdisjoint(store.rows):
        raise FormatError(
            f"{key} is {value!r}: none of its {len(store.rows)} clips is in the clip table (there: "
            f"{min(store.rows)!r}, here: {min(known, default=None)!r}); are they of another dataset?"
        )
    found = (store.meta["dtype"], store.meta["frame_rate"])
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
    return store


def _keep(
    clips: pa.Table, chosen: dict[str, Features], not_chosen: dict[str, str], unaligned: dict[str, str]
) -> tuple[list[int], dict[str, str]]:
    """Row numbers of the kept clips, ordered by split and clip id; and the reasons of the others."""
    kept, left_out = [], {}
    target = target_column(facts_of(clips).task)
    columns = (clips[name].to_pylist() for name in ("clip_id", "split", target))
    for i, (clip_id, split, label) in enumerate(zip(*columns, strict=True)):
        missing = {modality: _missing(store, clip_id) for modality, store in chosen.items()}
        if clip_id in not_chosen:
            left_out[clip_id] = not_chosen[clip_id]
        elif label is None and split not in (UNLABELED, CONTEXT):
            left_out[clip_id] = "no label"
        elif all(missing.values()):
            details = "; ".join(f"{modality} {reason}" for modality, reason in missing.items())
            left_out[clip_id] = f"no modality: {details}"
        elif clip_id in unaligned:
            left_out[clip_id] = f"not aligned: {unaligned[clip_id]}"
        else:
            kept.append((ALL_SPLITS.index(split), clip_id, i))
    return [i for _, _, i in sorted(kept)], dict(sorted(left_out.items()))


def _missing(store: Features, clip_id: str) -> str:
    """Empty where the clip has this modality, else `status: reason`."""
    row = store.rows.get(clip_id)
    if row is None:
        return "not extracted"
    return "" if row.status == OK else f"{row.status}: {row.error}"


def _count(
    splits: list[str], clip_ids: list[str], left_out: dict[str, str], chosen: dict[str, Features]
) -> dict[str, Any]:
    status = {
        modality: [_missing(store, clip_id).partition(":")[0] for clip_id in clip_ids]
        for modality, store in chosen.items()
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


def _tokens_without_text(
    clip_ids: list[str], texts: Mapping[str, str | None], text: Features | None
) -> dict[str, list[int]]:
    """Token ids of the clips whose words are not known otherwise, so that an encoder can be fine-tuned."""
    rows = {} if text is None else text.rows
    silent = (rows[clip_id] for clip_id in clip_ids if not texts.get(clip_id) and clip_id in rows)
    return {row.clip_id: row.token_ids.tolist() for row in silent if row.token_ids is not None}


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


def _join(clip_ids: list[str], store: Features, entry: dict[str, Any], key: str) -> Joined:
    """The shortened, not yet scaled sequences of the clips."""
    rows = [store.rows.get(clip_id) for clip_id in clip_ids]
    blocks = [row.features if row is not None and row.status == OK else None for row in rows]
    counts = [0 if block is None else steps_of(block, entry) for block in blocks]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = np.empty((offsets[-1], entry["dim"]), np.float32)
    real = np.empty(offsets[-1], np.bool_)
    for i, block in enumerate(blocks):
        if block is None:
            continue
        steps = slice(offsets[i], offsets[i + 1])
        values[steps], real[steps] = shorten(block, store.meta["column_names"], entry)
        if not np.isfinite(values[steps][real[steps]]).all():
            raise FormatError(f"{key}: features of clip {clip_ids[i]!r} are not finite; extract it again")
    return Joined(values, real, offsets, np.array([block is not None for block in blocks], np.bool_))


def _fingerprint(entries: dict[str, dict[str, Any]], stores: dict[str, Features]) -> str:
    keys = ("fingerprint", "columns", "max_steps", "shorten", "normalized", "align")
    identity = {
        modality: {key: entry[key] for key in keys if key in entry} for modality, entry in entries.items()
    }
    if "waveform" in stores:
        identity["waveform"] = {"fingerprint": stores["waveform"].meta["fingerprint"]}
    return json_hash(identity)
