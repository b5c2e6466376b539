"""What a reader should know of a prediction: how the clip differs from what the run was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.vocabulary import ABSENT, OK, TRANSIENT
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.datasets.assembly.sequences import SD_FLOOR, SUCCESS, Z_LIMIT, real_frames
from pipeline.predict.inputs import ClipInputs
from pipeline.reports.facts import SAMPLE
from pipeline.store.shard import FeatureRow
from pipeline.training.runs import WAVEFORM, TrainedRun
from pipeline.transcripts.scripts import in_other_script
from pipeline.transcripts.stage import Transcript

FACELESS = 0.4  # share of frames without a face from which on the face says little
FAR = 0.01  # share of values at the limit of the scaling from which on a clip is unlike the training clips
FAR_COLUMN = 0.5  # the same of one column, which is then named
FAR_MEAN = 3.0  # standard deviations: a column whose mean over a clip is farther off is unlike training
FAR_COLUMNS = 0.1  # share of such columns from which on it is said; of the sample's 96 clips none has one
NAMED = 3  # columns that are named at most


@dataclass(frozen=True, order=True)
class Caution:
    """One remark; `message` is a sentence without full stop, `modality` is empty where it is of none.

    `kind`: sample, absent, failed, no_face, long_text, cut, language, context, silent, out_of_range, or note.
    """

    kind: str
    modality: str
    message: str

    def __str__(self) -> str:
        return f"{self.modality}: {self.message}" if self.modality else self.message


def of_training(dataset: str) -> list[Caution]:
    """A caution where the runs' training set is the corpus of made clips."""
    if dataset != SAMPLE and not dataset.startswith(f"{SAMPLE}-"):
        return []
    message = (
        f"trained on {dataset}, a handful of synthetic clips that only show that everything runs: the "
        "prediction means nothing; train on a real corpus"
    )
    return [Caution("sample", "", message)]


def of_rows(rows: Mapping[str, FeatureRow], columns: Mapping[str, list[str]]) -> list[Caution]:
    """What the encoders met, by stream: absent, failed, silent, without a face, or noted otherwise."""
    found = []
    for stream, row in rows.items():
        modality = "audio" if stream == WAVEFORM else stream
        if row.status != OK:
            kind = "absent" if row.status == ABSENT else "failed"
            found.append(Caution(kind, modality, f"{kind}: {row.error.removeprefix(TRANSIENT)}"))
            continue
        faceless = 0.0
        if row.features is not None and SUCCESS in columns[stream]:
            faceless = float(np.mean(~real_frames(row.features, columns[stream])))
        if faceless >= FACELESS:
            found.append(Caution("no_face", modality, f"no face found in {faceless:.0%} of the frames"))
        for note in filter(None, row.error.split("; ")):
            if note.startswith("no face in") and faceless >= FACELESS:
                continue
            kind = "silent" if note.startswith("silent") else "note"
            kind = "long_text" if modality == "text" and note.startswith("cut to") else kind
            found.append(Caution(kind, modality, note))
    return found


def of_run(
    run: TrainedRun, inputs: ClipInputs, rows: Mapping[str, FeatureRow], spoken: Transcript
) -> list[Caution]:
    """Where the clip is longer than what the run reads, or far from the clips that it was trained on."""
    found = []
    reading, said = run.reading, spoken.text or ""
    if reading.context and inputs.before is None:
        message = (
            f"{run.config['method']} was trained with up to {reading.context} utterance(s) before each clip, "
            "and gets none here; --context reads the clips of a folder as one video"
        )
        found.append(Caution("context", "", message))
    if reading.tokenizer is not None and said.strip():
        tokens = reading.tokenizer.count(said)
        if tokens > reading.max_tokens:
            message = f"{tokens} tokens, but the run reads at most {reading.max_tokens}; the rest is not read"
            found.append(Caution("long_text", "text", message))
    if reading.waveform and inputs.sound is not None and len(inputs.sound) > reading.waveform:
        seconds, read = len(inputs.sound) / SAMPLE_RATE, reading.waveform / SAMPLE_RATE
        found.append(Caution("cut", "audio", f"{seconds:.1f} s long, of which the run reads {read:g} s"))
    for modality, entry in run.entries.items():
        values = inputs.sequences[modality]
        if values is None:
            continue
        features, most = rows[modality].features, entry["max_steps"]
        aligned = "align" in entry
        length = len(spoken.words or []) if aligned else 0 if features is None else len(features)
        if length > most and entry["shorten"] != "pool":
            unit = "words" if aligned else "tokens" if modality == "text" else "frames"
            kind = "long_text" if modality == "text" else "cut"
            message = f"{length} {unit}, but the run was trained on at most {most}; the rest is not read"
            found.append(Caution(kind, modality, message))
        found += _far(modality, values, entry)
    return found


def _far(modality: str, values: np.ndarray, entry: dict[str, Any]) -> list[Caution]:
    """A caution where a clip is far from training: (T, D) scaled values, the part of stats.json.

    Many values lie at the limit of the scaling, or the means of many columns are far from those of training.
    """
    columns = np.asarray(entry["columns"])
    scaled = np.isin(columns, entry["normalized"]) & (np.asarray(entry["sd"], np.float64) >= SD_FLOOR)
    if not scaled.any():
        return []
    at_limit = np.abs(values[:, scaled]) >= Z_LIMIT
    means = np.abs(values[:, scaled].mean(axis=0))
    beyond = means >= FAR_MEAN
    if at_limit.mean() >= FAR:
        shares, least = at_limit.mean(axis=0), FAR_COLUMN
        what, off = f"{at_limit.mean():.0%} of its values", Z_LIMIT
    elif beyond.mean() >= FAR_COLUMNS:
        shares, least = means, FAR_MEAN
        what, off = f"the means of {beyond.sum()} of its {len(beyond)} columns", FAR_MEAN
    else:
        return []
    worst = [str(columns[scaled][i]) for i in np.argsort(-shares, kind="stable") if shares[i] >= least]
    named = f" ({', '.join(worst[:NAMED])}{' ...' if len(worst) > NAMED else ''})" if worst else ""
    unlike = f"{what}{named} are {off:g} or more standard deviations from the training clips"
    return [Caution("out_of_range", modality, unlike)]


def of_language(spoken: Transcript, trained: str | None) -> list[Caution]:
    """A caution where the clip is in another language than the training corpus, as far as both are known.

    Who gives a text seldom says its language: one in another script than the corpus' is noticed, too.
    """
    if trained is None:
        return []
    if spoken.language not in (None, trained):
        message = f"the clip is in {spoken.language!r}, but the run was trained on {trained!r}"
    elif in_other_script(spoken.text or "", trained):
        message = f"not in the script of {trained!r}, which the run was trained on"
    else:
        return []
    return [Caution("language", "text", message)]
