"""`msa-cli predict`: what trained runs say of new clips, with the features that they were trained on.

    clip ─ encoders of the runs (run_encoders.py) ─▶ rows ─ clip_inputs.py ─▶ what each run reads
         ─ contributions.py ─▶ each run's prediction ─ here ─▶ their mean and spread

A clip goes through the same encoders, scaling and shortening as the clips of the training set, and gets the
same number. It is read alone: methods with a context (SLaD) get no utterances before it.

Symbols: R runs that could predict the clip, C classes; of a regression scores have one value.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline import cautions
from pipeline.cautions import Caution
from pipeline.clip_inputs import inputs_of
from pipeline.contributions import Outcome, outcome
from pipeline.encoders import Clip, Encoder
from pipeline.errors import ClipError, MsaError
from pipeline.extract import make_listener, plan
from pipeline.extraction import Task, encode_row
from pipeline.params import Params
from pipeline.run_encoders import make_encoders
from pipeline.shards import TRANSIENT, Row
from pipeline.trained import TrainedRun, open_runs
from pipeline.transcribe import Spoken, read

ENGLISH = "en"
SUFFIX = ".features"  # of the folders that `extract` plans; what stands before it names the clip
MODALITIES = ("text", "audio", "visual")


@dataclass(frozen=True)
class Facts:
    """What the runs predict.

    Attributes
    ----------
    label_range : of a regression
    class_names : empty for a regression
    """

    dataset: str
    label_range: tuple[float, float]
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, run: TrainedRun) -> Facts:
        stats = run.stats
        classes = tuple(stats["class_names"]) if stats["task"] == "classification" else ()
        low, high = stats["label_range"]
        return cls(stats["dataset"], (float(low), float(high)), classes)


@dataclass(frozen=True)
class Material:
    """A clip and what the encoders made of it.

    Attributes
    ----------
    video : the file, as it was given
    rows : by the fingerprint of the runs' features
    """

    clip_id: str
    video: Path
    spoken: Spoken
    rows: dict[str, Row]


@dataclass(frozen=True)
class Voice:
    """One run's outcome."""

    run: str
    method: str
    seed: int
    outcome: Outcome


@dataclass
class ClipPrediction:
    """What the runs say of one clip together.

    Attributes
    ----------
    voices : one a run that could predict it; none = the clip failed, for `reason`
    cautions : what a reader should know
    seconds : what extraction and prediction took; for people, in no file
    """

    facts: Facts
    material: Material
    voices: list[Voice] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)
    reason: str = ""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return bool(self.voices)

    @property
    def scores(self) -> np.ndarray:
        """Mean over the runs, (1,) or (C,)."""
        return _mean(self.voices)

    @property
    def class_index(self) -> int | None:
        """The most probable class (the first of equals); None of a regression."""
        return int(self.scores.argmax()) if self.facts.class_names else None

    @property
    def value(self) -> float:
        """The score in label units, or the probability of the most probable class."""
        return float(self.scores[self.class_index or 0])

    @property
    def sd(self) -> float | None:
        """Sample standard deviation (n - 1) of `value` over the runs; None of a single one."""
        return _sd([voice.outcome.scores for voice in self.voices], self.class_index or 0)

    @property
    def methods(self) -> dict[str, tuple[float, float | None, int]]:
        """Method -> mean, sd and number of its runs, of the same class as `value`."""
        found = {}
        for method in dict.fromkeys(voice.method for voice in self.voices):
            own = [voice for voice in self.voices if voice.method == method]
            place = self.class_index or 0
            found[method] = (
                float(_mean(own)[place]),
                _sd([voice.outcome.scores for voice in own], place),
                len(own),
            )
        return found

    @property
    def contributions(self) -> dict[str, tuple[float, float | None]]:
        """Modality -> mean and sd, over the runs that read it and something else of the clip, of what it
        changes `value` by.
        """
        place, found = self.class_index or 0, {}
        for modality in MODALITIES:
            changes = [
                voice.outcome.scores - rest
                for voice in self.voices
                if (rest := voice.outcome.without.get(modality)) is not None
            ]
            if changes:
                found[modality] = (float(np.mean(changes, axis=0)[place]), _sd(changes, place))
        return found

    @property
    def internals(self) -> dict[str, dict[str, dict[str, float]]]:
        """Method -> what it shows -> modality -> mean over its runs."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for method in self.methods:
            shown = [voice.outcome.internals for voice in self.voices if voice.method == method]
            names = sorted({name for one in shown for name in one})
            for name in names:
                parts = [one[name] for one in shown if name in one]
                found.setdefault(method, {})[name] = {
                    part: statistics.fmean(values[part] for values in parts if part in values)
                    for part in dict.fromkeys(part for values in parts for part in values)
                }
        return found


def _mean(voices: Iterable[Voice]) -> np.ndarray:
    mean: np.ndarray = np.mean([voice.outcome.scores for voice in voices], axis=0)
    return mean


def _sd(values: Sequence[np.ndarray], place: int) -> float | None:
    return statistics.stdev(float(value[place]) for value in values) if len(values) > 1 else None


# ------------------------------------------------------------------------------------------------- predicting
@dataclass
class Predictor:
    """Runs and the encoders of their features, loaded once for any number of clips.

    Attributes
    ----------
    encoders : by the fingerprint of the runs' features
    remarks : what holds for every clip, such as other library versions
    language : of the training corpus, None where params do not tell
    listen : what finds out what is said in a clip, beyond text that is there
    """

    runs: list[TrainedRun]
    encoders: dict[str, Encoder]
    remarks: list[str]
    language: str | None
    listen: Callable[[Spoken], Spoken]

    @classmethod
    def open(
        cls, folders: Sequence[Path], params: Params, device: str = "cpu", asr: str | None = None
    ) -> Predictor:
        """Load the runs, their encoders, and what hears speech.

        Parameters
        ----------
        params : where models lie on this machine, and how speech is recognised
        asr : a Whisper, where clips come without text

        Raises
        ------
        MsaError : runs that cannot be read or do not belong together, or features that cannot be made here
        """
        runs = open_runs(folders, device)
        encoders, remarks = make_encoders(runs, params, device)
        return cls(runs, encoders, remarks, _language(runs[0], params), make_listener(params, asr, device))

    @property
    def facts(self) -> Facts:
        return Facts.of(self.runs[0])

    def __call__(
        self, clip_id: str, video: Path, text: str | None = None, language: str | None = None
    ) -> ClipPrediction:
        """Extract one clip's features and predict with every run.

        Parameters
        ----------
        text : what is said; None = looked for beside the clip, in its subtitles, and by recognition
        language : ISO 639-1; None = that of the training corpus, or English
        """
        begin = time.perf_counter()
        prediction = self.judge(self.look(clip_id, video, text, language))
        prediction.seconds = time.perf_counter() - begin
        return prediction

    def look(
        self, clip_id: str, video: Path, text: str | None = None, language: str | None = None
    ) -> Material:
        """What is said in the clip, and its features: see `__call__`."""
        spoken = Spoken(clip_id, video, None, None, language or self.language or ENGLISH)
        spoken = read(spoken, text)
        if any("text" in run.modalities or run.aligned for run in self.runs):
            spoken = self.listen(spoken)
        clip = Clip(clip_id, path=video, text=spoken.text, language=spoken.language or ENGLISH)
        rows = {key: encode_row(encoder, Task(clip, "")) for key, encoder in self.encoders.items()}
        return Material(clip_id, video, spoken, rows)

    def judge(self, material: Material) -> ClipPrediction:
        """What the runs say of a clip."""
        found = ClipPrediction(self.facts, material)
        silent: dict[str, str] = {}
        remarks = cautions.of_language(material.spoken, self.language)
        for run in self.runs:
            rows = {stream: material.rows[entry["fingerprint"]] for stream, entry in run.needed.items()}
            columns = {
                stream: self.encoders[entry["fingerprint"]].column_names
                for stream, entry in run.needed.items()
            }
            remarks += cautions.of_rows(rows, columns)
            if run.reading.tokenizer is not None and not (material.spoken.text or "").strip():
                remarks.append(Caution("absent", "text", "absent: no transcript"))
            name = run.folder.name
            try:
                inputs = inputs_of(run, material.clip_id, rows, columns, material.spoken)
            except ClipError as error:
                silent[name] = f"{error}; a row is a word there: give a .vtt or .srt with the times of words"
                continue
            if not inputs.present:
                silent[name] = f"the clip has none of {', '.join(run.modalities)}"
                continue
            remarks += cautions.of_run(run, inputs, rows, material.spoken)
            seed = int(run.config["seed"])
            found.voices.append(Voice(name, run.config["method"], seed, outcome(run, inputs)))
        remarks += [Caution("note", "text", problem) for problem in material.spoken.problems]
        found.cautions = list(dict.fromkeys(remarks))
        for name, reason in silent.items():
            found.cautions.append(Caution("failed", "", f"{name} gave nothing: {reason}"))
        if not found.voices:
            reasons = [
                str(one) for one in found.cautions if one.kind in ("absent", "failed") and one.modality
            ]
            found.reason = "; ".join(reasons) or "; ".join(dict.fromkeys(silent.values()))
            found.reason = found.reason.replace(TRANSIENT, "")
        return found


def clips_of(videos: Sequence[Path]) -> dict[str, Path]:
    """Clip id -> file, of files and folders, in the order in which they are given.

    The id is the file's name without suffix; in a folder, its place there without suffix.

    Raises
    ------
    MsaError : a path does not exist, a folder holds no video, or two clips have one id
    """
    found: dict[str, Path] = {}
    for video in videos:
        for request in plan([video], None):
            clip_id = request.out.as_posix().removesuffix(SUFFIX)
            if clip_id in found:
                raise MsaError(
                    f"{found[clip_id]} and {request.video} would both be called {clip_id!r}; predict them "
                    "one by one, or give the folder that both are in"
                )
            found[clip_id] = request.video
    return found


def predict(
    predictor: Predictor, clips: dict[str, Path], text: str | None = None, language: str | None = None
) -> Iterator[ClipPrediction]:
    """Clip after clip; see `Predictor.__call__`."""
    for clip_id, video in clips.items():
        yield predictor(clip_id, video, text, language)


def _language(run: TrainedRun, params: Params) -> str | None:
    """The language of the run's training corpus, where params know its training set."""
    chosen = params.assemble.get(run.stats["dataset"])
    known = {**params.datasets, **params.imports}
    return known[chosen.dataset].language if chosen is not None and chosen.dataset in known else None
