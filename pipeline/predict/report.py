"""Predictions of new clips for people and for programs: words, tables on screen, JSON, Parquet and CSV.

`predictions.parquet` and `predictions.csv` have a row a clip, in the order of clip ids:

    clip_id, video, status (ok | failed), reason
    text, text_source, language
    prediction           score in label units, or the index of the class
    in_words             `negative`, `slightly positive` ..., or the name of the class
    probability          of the class (regression: null);  probabilities  of all classes
    sd                   over the runs, null of a single one;  runs  that predicted the clip
    low, high            the 90 % interval around a score, see intervals.py; null where there is none
    prediction_<method>  mean of the method's runs (of a classification: of that class' probability)
    baseline             the mean prediction of the training clips, mean over the runs
    contribution_<m>     Shapley values of text, audio, visual: with the baseline they add up to the score
                         (or the probability); null where the clip has not the modality, or no run reads it
    warnings

Numbers are float64 and null where a clip failed. Text in CSV cells that a spreadsheet would take for a
formula begins with an apostrophe. `video` is the file's name: no clock times, no folders of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.files import replaced_files, rounded
from pipeline.core.names import id_of
from pipeline.core.spreadsheets import write_cells
from pipeline.core.vocabulary import MODALITIES
from pipeline.predict.cautions import Caution
from pipeline.predict.intervals import LEVEL
from pipeline.predict.prediction import ClipPrediction, Facts
from pipeline.reports.blocks import Block, Heading, Lines, Table
from pipeline.training.runs import TrainedRun
from pipeline.transcripts.table import LABEL

FORMAT = 2  # 1: the contributions were those of leaving one modality out
METADATA_KEY = b"msa.predictions"
GRADES = (
    "strongly negative",
    "negative",
    "slightly negative",
    "neutral",
    "slightly positive",
    "positive",
    "strongly positive",
)
DECIMALS = 6


def grade(score: float, label_range: tuple[float, float]) -> str:
    """A score in words: the label range in seven equal parts about its middle, the outer two half as wide.

    On [-3, 3] it is the nearest integer. Scores beyond the range are as strong as its end.
    """
    low, high = label_range
    middle, half = (low + high) / 2, (high - low) / 2
    place = min(max((score - middle) / half, -1.0), 1.0)
    return GRADES[3 + round(3 * place)]


def in_words(clip: ClipPrediction) -> str:
    """The grade of a score, or the class' name."""
    index = clip.class_index
    return grade(clip.value, clip.facts.label_range) if index is None else clip.facts.class_names[index]


# ------------------------------------------------------------------------------------------------------ JSON
def as_json(clips: Sequence[ClipPrediction], runs: Sequence[TrainedRun], remarks: Sequence[str]) -> str:
    """One object: what the runs are, `warnings` that hold for all clips, and `clips`."""
    facts = Facts.of(runs[0])
    tree = {
        "format": FORMAT,
        "dataset": facts.dataset,
        "task": "classification" if facts.class_names else "regression",
        "label_range": None if facts.class_names else list(facts.label_range),
        "class_names": list(facts.class_names),
        "runs": [
            {"run": str(run.folder), "method": run.config["method"], "seed": run.config["seed"]}
            for run in runs
        ],
        "warnings": list(remarks),
        "clips": rounded([_clip(clip) for clip in clips], DECIMALS),
    }
    return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)


def _clip(clip: ClipPrediction) -> dict[str, Any]:
    tree = _input(clip) | {"video": str(clip.features.video), "warnings": [*map(vars, clip.cautions)]}
    if not clip.ok:
        return tree
    classes = clip.facts.class_names
    return tree | {
        "prediction": clip.class_index if classes else clip.value,
        "in_words": in_words(clip),
        "probabilities": dict(zip(classes, clip.scores.tolist(), strict=True)) if classes else None,
        "sd": clip.sd,
        "interval": None
        if (ends := clip.interval) is None
        else {"level": LEVEL, "low": ends[0], "high": ends[1]},
        "methods": {
            method: {"mean": mean, "sd": sd, "runs": count}
            for method, (mean, sd, count) in clip.methods.items()
        },
        "runs": {one.run: one.scores.tolist() for one in clip.outcomes},
        "baseline": clip.baseline,
        "contributions": {
            modality: {"mean": mean, "sd": sd} for modality, (mean, sd) in clip.contributions.items()
        },
        "internals": clip.internals,
    }


def _input(clip: ClipPrediction) -> dict[str, Any]:
    """What was predicted from, and whether it could be."""
    spoken = clip.features.spoken
    return {
        "clip_id": clip.features.clip_id,
        "video": id_of(clip.features.video.name),
        "status": "ok" if clip.ok else "failed",
        "reason": clip.reason,
        "text": spoken.text,
        "text_source": spoken.source,
        "language": spoken.language,
    }


# ----------------------------------------------------------------------------------------------------- files
def write_predictions(clips: Sequence[ClipPrediction], facts: Facts, folder: Path) -> None:
    """`predictions.parquet` and `predictions.csv` in a folder, which is made; equal clips, equal bytes."""
    table = to_table(clips, facts)
    columns = [
        [(json.dumps(value) if value else None) if isinstance(value, list) else value for value in column]
        for column in (table[name].to_pylist() for name in table.column_names)
    ]
    with replaced_files(folder) as files:
        pq.write_table(table, files / "predictions.parquet", compression="zstd")
        write_cells(files / "predictions.csv", table.column_names, zip(*columns, strict=True))


def to_table(clips: Sequence[ClipPrediction], facts: Facts) -> pa.Table:
    """The rows of `predictions.parquet`; see the module's text."""
    methods = sorted({method for clip in clips if clip.ok for method in clip.methods})
    number = pa.int32() if facts.class_names else pa.float64()
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("clip_id", "video", "status", "reason")),
            *((name, pa.string()) for name in ("text", "text_source", "language")),
            ("prediction", number),
            ("in_words", pa.string()),
            ("probability", pa.float64()),
            ("probabilities", pa.list_(pa.float64())),
            ("sd", pa.float64()),
            ("low", pa.float64()),
            ("high", pa.float64()),
            ("runs", pa.int32()),
            *((f"prediction_{method}", pa.float64()) for method in methods),
            ("baseline", pa.float64()),
            *((f"contribution_{modality}", pa.float64()) for modality in MODALITIES),
            ("warnings", pa.string()),
        ],
        metadata={METADATA_KEY: json.dumps({"format": FORMAT, **vars(facts)}, sort_keys=True).encode()},
    )
    rows = [_row(clip) for clip in sorted(clips, key=lambda clip: clip.features.clip_id)]
    return pa.Table.from_pylist(rows, schema=schema)


def _row(clip: ClipPrediction) -> dict[str, Any]:
    row = _input(clip) | {"runs": len(clip.outcomes), "warnings": "; ".join(map(str, clip.cautions))}
    if not clip.ok:
        return row
    classes = clip.facts.class_names
    row |= {
        "prediction": clip.class_index if classes else clip.value,
        "in_words": in_words(clip),
        "probability": clip.value if classes else None,
        "probabilities": clip.scores.tolist() if classes else None,
        "sd": clip.sd,
        "baseline": clip.baseline,
    }
    row |= dict(zip(("low", "high"), clip.interval or (None, None), strict=True))
    row |= {f"prediction_{method}": mean for method, (mean, *_) in clip.methods.items()}
    return row | {f"contribution_{modality}": mean for modality, (mean, _) in clip.contributions.items()}


# ---------------------------------------------------------------------------------------------------- screen
def blocks(clips: Sequence[ClipPrediction]) -> list[Block]:
    """One clip in full, or a line a clip."""
    return _detailed(clips[0]) if len(clips) == 1 and clips[0].ok else _overview(clips)


def shared(clips: Sequence[ClipPrediction]) -> list[Caution]:
    """What is said of every clip, and need not be said in each line."""
    first, *others = clips
    return [one for one in first.cautions if all(one in clip.cautions for clip in others)]


def _detailed(clip: ClipPrediction) -> list[Block]:
    facts = clip.facts
    low, high = facts.label_range
    scale = f"probability of {in_words(clip)}" if facts.class_names else f"score, {low:g} to {high:g}"
    scores = []
    for name, (mean, sd, count) in clip.means:
        said = in_words(clip) if facts.class_names else grade(mean, facts.label_range)
        scores.append([name, str(count), _number(mean), _number(sd), said])
    spoken = clip.features.spoken
    found = spoken.text if spoken.source not in (None, LABEL) else None  # who gave the text knows it
    page: list[Block] = [
        Heading(str(clip.features.video)),
        *([Lines([f"{spoken.source}: {found}"])] if found else []),
        Table(["method", "runs", scale, "sd", "in words"], scores, words=(0, 4)),
    ]
    if (ends := clip.interval) is not None:
        said = "from the errors of the runs' validation clips; less reliable for clips unlike those"
        page.append(Lines([f"{LEVEL:.0%} interval: {ends[0]:.3f} to {ends[1]:.3f}, {said}."]))
    if facts.class_names:
        listed = zip(facts.class_names, clip.scores, strict=True)
        page.append(Lines([", ".join(f"{name} {share:.0%}" for name, share in listed)]))
    parts = []
    changes: dict[str, tuple[float | None, float | None]] = {**clip.contributions}
    for modality in (*MODALITIES, "shared"):
        own = [_internals(values, modality) for values in clip.internals.values()]
        if modality in changes or any(own):
            change, spread = changes.get(modality, (None, None))
            parts.append([modality, _number(change, "+"), _number(spread), *own])
    head = ["modality", "contribution", "sd", *clip.internals]
    return [
        *page,
        Heading("What each modality contributed"),
        Table(head, parts, words=(0, *range(3, len(head)))),
        Lines(
            [
                f"Shapley values. With {clip.baseline:+.3f}, the mean prediction of the training clips, they "
                "add up to the prediction. Further columns: the method's own weights."
            ]
        ),
    ]


def _internals(shown: dict[str, dict[str, float]], modality: str) -> str:
    """`weight 0.34`, `expert_0 0.36, expert_1 0.38`; empty where the method shows nothing of it."""
    return ", ".join(f"{name} {shares[modality]:.2f}" for name, shares in shown.items() if modality in shares)


def _overview(clips: Sequence[ClipPrediction]) -> list[Block]:
    known, rows = shared(clips), []
    for clip in clips:
        if not clip.ok:
            rows.append([clip.features.clip_id, "failed", *[""] * 5, clip.reason])
            continue
        changes = (clip.contributions.get(modality, (None,))[0] for modality in MODALITIES)
        note = "; ".join(str(caution) for caution in clip.cautions if caution not in known)
        row = [clip.features.clip_id, _number(clip.value), _number(clip.sd), in_words(clip)]
        rows.append([*row, *(_number(change, "+") for change in changes), note])
    return [
        Table(["clip", "prediction", "sd", "in words", *MODALITIES, "note"], rows, words=(0, 3, 7)),
        Lines(
            [
                "text, audio, visual: Shapley values; with the mean prediction of the training clips they "
                "add up to the prediction"
            ]
        ),
    ]


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.3f}"
