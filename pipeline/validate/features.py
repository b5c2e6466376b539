"""Checks of a corpus' feature stores, `data/features/<name>/<modality>-<encoder>`: what is there, and whose.

Every store is compared with the clips: a clip is ok, absent (its source has not this modality), failed, or
lacking (no row yet). Each value is read once, so that NaN and infinities are found before a training set
would refuse them. Which tool and version made a store is said of each: action units of different tools, or
of different versions of one, are different numbers under the same names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import FormatError
from pipeline.core.vocabulary import ABSENT, FAILED, MODALITIES, NONE, OK
from pipeline.corpora.findings import Finding, counted, percent
from pipeline.params.params import Params
from pipeline.store.shard import FeatureRow
from pipeline.store.store import FeatureStore

FEATURES = Path("data/features")
HASH = 12  # digits that are shown of a SHA-256


@dataclass
class StoreSummary:
    """One store compared with the clips of its corpus.

    Attributes
    ----------
    folder : below data/features, e.g. `mosi/visual-facemesh`
    made_by : tool, versions and weights, from the footer
    ok, absent, failed, lacking : clips of the corpus; together all of them
    unknown : ids of rows whose clip the corpus has not
    not_finite : ids of clips with NaN or infinities
    reasons : clip id -> why it failed
    """

    folder: str
    modality: str
    columns: int
    made_by: str
    ok: int = 0
    absent: int = 0
    failed: int = 0
    lacking: int = 0
    frames: int = 0
    unknown: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """Of the corpus."""
        return self.ok + self.absent + self.failed + self.lacking


def stores(
    names: Iterable[str], clip_ids: Collection[str], project: Path = Path()
) -> tuple[list[StoreSummary], list[Finding]]:
    """Look through stores, in the order of their names.

    Parameters
    ----------
    names : folders below data/features: those that are there and those that ought to be
    clip_ids : all clips of the corpus
    """
    summaries, findings, missing = [], [], []
    for name in names:
        store = FeatureStore(project / FEATURES / name)
        try:
            meta = store.meta()
            if meta is None:
                missing += [] if (store.folder / "none.json").exists() else [name]
                continue
            summaries.append(_summary(name, store, meta, clip_ids))
        except FormatError as error:
            findings.append(Finding("warning", "damaged features", str(error)))
    what = "feature store(s) do not exist yet: `dvc repro` makes them"
    findings += counted("info", "missing features", missing, what)
    return summaries, findings + [finding for summary in summaries for finding in _remarks(summary)]


def expected(dataset: str, params: Params, project: Path = Path()) -> list[str]:
    """The stores of a dataset: those on disk, those of its jobs, and those that its training sets name."""
    base = project / FEATURES
    found = {f"{dataset}/{folder.name}" for folder in (base / dataset).glob("*-*") if folder.is_dir()}
    for modality in MODALITIES:
        jobs = getattr(params.jobs, modality).values()
        found |= {f"{dataset}/{modality}-{job.encoder}" for job in jobs if job.dataset == dataset}
    for chosen in params.assemble.values():
        if chosen.dataset == dataset:
            found |= {getattr(chosen, stream) for stream in (*MODALITIES, "waveform")} - {NONE}
    return sorted(found)


def _summary(name: str, store: FeatureStore, meta: dict[str, Any], clip_ids: Collection[str]) -> StoreSummary:
    found = StoreSummary(name, meta["modality"], int(meta["dim"]), made_by(meta))
    rows: Iterable[FeatureRow] = store.stream()
    if np.dtype(meta["dtype"]).kind in "iu":  # sound and pictures are always finite
        ledger = store.ledger()
        rows = () if ledger is None else ledger.rows.values()
    wanted, seen = set(clip_ids), set()
    for row in rows:
        if row.clip_id not in wanted:
            found.unknown.append(row.clip_id)
            continue
        seen.add(row.clip_id)
        found.ok += row.status == OK
        found.absent += row.status == ABSENT
        if row.status == FAILED:
            found.failed += 1
            found.reasons[row.clip_id] = row.error
        if row.features is not None:
            found.frames += len(row.features)
            if not np.isfinite(row.features).all():
                found.not_finite.append(row.clip_id)
    found.lacking = len(wanted - seen)
    for listed in (found.unknown, found.not_finite):
        listed.sort()  # they come shard by shard
    return found


def made_by(meta: dict[str, Any]) -> str:
    """Tool, settings' kind, versions of its libraries, and its weights, as a footer has them."""
    kind = meta.get("params", {}).get("kind")
    parts = [meta["encoder"] if kind in (None, meta["encoder"]) else f"{meta['encoder']} ({kind})"]
    parts += [f"{name} {version}" for name, version in sorted(meta.get("libraries", {}).items())]
    model = str(meta.get("model", "none"))
    if not model.startswith("none"):
        parts.append(f"weights {re.sub('[0-9a-f]{40,64}', lambda digest: digest[0][:HASH], model)}")
    return ", ".join(parts)


def _remarks(found: StoreSummary) -> list[Finding]:
    name, failed = f"{found.folder}: ", sorted(found.reasons.items())
    message = f"{name}{found.ok} of {found.clips} clips, {found.columns} columns, made by {found.made_by}"
    findings = [Finding("info", "features", message)]
    share = f"of {found.clips} clips ({percent(found.failed, found.clips)}) failed"
    findings += counted("warning", "failed features", [f"{c}: {why}" for c, why in failed], share, name)
    if found.lacking:
        message = f"{name}{found.lacking} of {found.clips} clips have no row: run its stage (`dvc repro`)"
        findings.append(Finding("warning", "clips without features", message))
    what = "row(s) are of clips that are not in the corpus: of another copy?"
    findings += counted("warning", "features of unknown clips", found.unknown, what, name)
    what = "clip(s) have NaN or infinite values: extract them again"
    return findings + counted("warning", "not finite", found.not_finite, what, name)
