"""`msa-cli predict`: what trained runs predict of new clips, with the features that they were trained on.

    clip ─ encoders.py ─▶ rows ─ inputs.py ─▶ what each run reads ─ prediction.py ─▶ each run's prediction,
         their mean and spread

A clip goes through the same encoders, scaling and shortening as the clips of the training set, and gets the
same number. It is read alone, or for methods with a context (SLaD) after the clips of its folder that come
before it: in a training set these are the utterances before it in its video and split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pipeline.core.errors import ClipError, MsaError
from pipeline.core.paths import CLIP_SUFFIX
from pipeline.core.vocabulary import TRANSIENT
from pipeline.corpora.clips import natural_key
from pipeline.features.clip import make_transcriber, plan
from pipeline.features.encoder import Clip, Encoder
from pipeline.features.rows import EncodingTask, encode_row
from pipeline.params.params import PARAMS_FILE, Params, load_params
from pipeline.predict import cautions
from pipeline.predict.cautions import Caution
from pipeline.predict.encoders import make_encoders
from pipeline.predict.inputs import ClipInputs, inputs_of
from pipeline.predict.intervals import half_width_of
from pipeline.predict.prediction import ClipFeatures, ClipPrediction, Facts, outcome
from pipeline.training.runs import TrainedRun, open_runs
from pipeline.transcripts.stage import Transcript, read

ENGLISH = "en"


@dataclass
class Predictor:
    """Runs and the encoders of their features, loaded once for any number of clips.

    Attributes
    ----------
    encoders : by the fingerprint of the runs' features
    remarks : what holds for every clip, such as other library versions
    language : of the training corpus, None where no params tell
    listen : what finds out what is said in a clip, beyond text that is there
    """

    runs: list[TrainedRun]
    encoders: dict[str, Encoder]
    remarks: list[str]
    language: str | None
    listen: Callable[[Transcript], Transcript]

    @classmethod
    def open(
        cls, folders: Sequence[Path], params: Params, device: str = "cpu", asr: str | None = None
    ) -> Predictor:
        """Load the runs, their encoders, and what recognises speech: `asr`, or the model that params name.

        MsaError where runs cannot be read or do not belong together, or features cannot be made here.
        """
        runs = open_runs(folders, device)
        encoders, remarks = make_encoders(runs, params, device)
        return cls(runs, encoders, remarks, _language(runs[0], params), make_transcriber(params, asr, device))

    @classmethod
    def without_encoders(cls, runs: list[TrainedRun], params: Params) -> Predictor:
        """For clips whose features are there."""
        return cls(runs, {}, [], _language(runs[0], params), lambda spoken: spoken)

    @property
    def facts(self) -> Facts:
        return Facts.of(self.runs[0])

    @cached_property
    def half_width(self) -> float | None:
        """Of the interval around the mean score of all runs; see intervals.py."""
        return half_width_of(self.runs)

    def __call__(
        self,
        clip_id: str,
        video: Path,
        text: str | None = None,
        language: str | None = None,
        before: Sequence[ClipFeatures] | None = None,
    ) -> ClipPrediction:
        """Extract one clip's features and predict with every run.

        Parameters
        ----------
        text : what is said; None = looked for beside the clip, in its subtitles, and by recognition
        language : ISO 639-1; None = that of the training corpus, or English
        before : the utterances before it in its video, oldest first; None = not known
        """
        return self.predict(self.extract(clip_id, video, text, language), before)

    def extract(
        self, clip_id: str, video: Path, text: str | None = None, language: str | None = None
    ) -> ClipFeatures:
        """What is said in the clip, and its features: see `__call__`."""
        spoken = read(Transcript(clip_id, video, None, None, language or self.language or ENGLISH), text)
        if any("text" in run.modalities or run.aligned for run in self.runs):
            spoken = self.listen(spoken)
        clip = Clip(clip_id, path=video, text=spoken.text, language=spoken.language or ENGLISH)
        rows = {}
        for key, encoder in self.encoders.items():
            problem = spoken.failure if encoder.modality == "text" else None
            rows[key] = encode_row(encoder, EncodingTask(clip, "", problem))
        columns = {key: encoder.column_names for key, encoder in self.encoders.items()}
        return ClipFeatures(clip_id, video, spoken, rows, columns)

    def predict(self, features: ClipFeatures, before: Sequence[ClipFeatures] | None = None) -> ClipPrediction:
        """What the runs predict of a clip; see `__call__`."""
        found, spoken = ClipPrediction(self.facts, features), features.spoken
        failures: dict[str, str] = {}
        remarks = cautions.of_training(self.facts.dataset) + cautions.of_language(spoken, self.language)
        names = [run.title for run in self.runs]
        for run, own in zip(self.runs, names, strict=True):
            rows, columns = features.streams(run)
            remarks += cautions.of_rows(rows, columns)
            if run.reading.tokenizer is not None and not (spoken.text or "").strip():
                remarks.append(Caution("absent", "text", "absent: no transcript"))
            name = own if names.count(own) == 1 else str(run.folder)  # runs of two projects may have one name
            try:
                inputs = self.inputs(run, features, before)
            except ClipError as error:
                failures[name] = f"{error}; there, each row is a word: give a .vtt or .srt with word times"
                continue
            if run.modalities and not inputs.present:  # a constant reads none
                failures[name] = f"the clip has none of {', '.join(run.modalities)}"
                continue
            remarks += cautions.of_run(run, inputs, rows, spoken)
            found.outcomes.append(outcome(run, inputs, name))
        for problem in spoken.problems:
            if not any(one.message.endswith(problem) for one in remarks):  # the file itself, say
                remarks.append(Caution("note", "text", problem))
        if len(found.outcomes) == len(self.runs):
            found.half_width = self.half_width
        found.cautions = list(dict.fromkeys(remarks))
        for name, reason in failures.items():
            found.cautions.append(Caution("failed", "", f"{name} gave nothing: {reason}"))
        if not found.outcomes:
            reasons: dict[str, list[str]] = {}
            for one in found.cautions:
                if one.kind in ("absent", "failed") and one.modality:
                    reasons.setdefault(one.message, []).append(one.modality)
            listed = [f"{', '.join(modalities)}: {message}" for message, modalities in reasons.items()]
            found.reason = "; ".join(listed or dict.fromkeys(failures.values())).replace(TRANSIENT, "")
        return found

    @staticmethod
    def inputs(
        run: TrainedRun, features: ClipFeatures, before: Sequence[ClipFeatures] | None = None
    ) -> ClipInputs:
        """What a run reads of a clip, and before it; ClipError as `inputs_of` has it.

        Utterances before it that a training set would leave out do not count.
        """
        inputs = inputs_of(run, features.clip_id, *features.streams(run), features.spoken)
        if before is None:
            return inputs
        found: list[ClipInputs] = []
        for earlier in reversed(before):
            if len(found) == run.reading.context:
                break
            with suppress(ClipError):
                own = inputs_of(run, earlier.clip_id, *earlier.streams(run), earlier.spoken)
                found += [own] if own.present else []
        return replace(inputs, before=tuple(reversed(found)))


def clips_of(videos: Sequence[Path], passed_over: dict[str, str] | None = None) -> dict[str, Path]:
    """Clip id -> file, of files and folders, in the order in which they are given.

    The id is the file's name without suffix; in a folder, its place there without suffix. Clips of a folder
    are in natural order: 2 before 10. Errors and `passed_over` as `plan` has them; MsaError, too, where two
    clips have one id.
    """
    found: dict[str, Path] = {}
    for video in videos:
        named = {
            request.out.as_posix().removesuffix(CLIP_SUFFIX): request
            for request in plan([video], None, passed_over)
        }
        for clip_id in sorted(named, key=natural_key):
            request = named[clip_id]
            if clip_id in found and found[clip_id].resolve() == request.video.resolve():
                raise MsaError(f"--video: {request.video} is given twice; give each clip once")
            if clip_id in found:
                raise MsaError(
                    f"{found[clip_id]} and {request.video} would both be named {clip_id!r}; predict them "
                    "one by one, or give the folder that both are in"
                )
            found[clip_id] = request.video
    return found


def predict(
    predictor: Predictor,
    clips: dict[str, Path],
    text: str | None = None,
    language: str | None = None,
    context: bool = False,
) -> Iterator[ClipPrediction]:
    """Clip after clip; with `context` those of one folder are the utterances of one video, in this order."""
    for features, before in extracted(predictor, clips, text, language, context):
        yield predictor.predict(features, before)


def extracted(
    predictor: Predictor,
    clips: dict[str, Path],
    text: str | None = None,
    language: str | None = None,
    context: bool = False,
) -> Iterator[tuple[ClipFeatures, list[ClipFeatures] | None]]:
    """Clip after clip its features, and with `context` those of what was said before it, oldest first."""
    earlier: defaultdict[Path, list[ClipFeatures]] = defaultdict(list)
    for clip_id, video in clips.items():
        features = predictor.extract(clip_id, video, text, language)
        yield features, [*earlier[video.parent]] if context else None
        earlier[video.parent].append(features)


def _language(run: TrainedRun, params: Params) -> str | None:
    """The language of the run's training corpus, where params know its training set.

    The run may belong to another project than these params: the one whose `runs` it lies in.
    """
    own = run.folder.absolute().parents[2] / PARAMS_FILE  # above runs/misr-mosi/1111
    try:
        projects = [params, *([load_params(own)] if own.is_file() else [])]
    except MsaError:  # of another version, perhaps; only a warning hangs on it
        projects = [params]
    for project in projects:
        chosen = project.assemble.get(run.stats["dataset"])
        if chosen is not None and chosen.dataset in project.corpora:
            return project.corpora[chosen.dataset].language
    return None
