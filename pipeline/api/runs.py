"""From clips to features and predictions in Python: what `msa-cli extract` and `msa-cli predict` do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.api.clips import LoadedClips, load_features
from pipeline.core.errors import MsaError
from pipeline.core.paths import given_run
from pipeline.core.vocabulary import NONE
from pipeline.predict.prediction import ClipPrediction, Facts
from pipeline.training.runs import TrainedRun, open_runs, run_folders

if TYPE_CHECKING:
    import pandas as pd

Names = str | Sequence[str] | None
Paths = str | Path | Sequence[str | Path]


class ClipPredictions(Mapping[str, ClipPrediction]):
    """What runs predict of clips, by clip id; each has `value`, `sd`, `contributions`, `cautions` ...

    Attributes
    ----------
    remarks : what holds for all clips, such as other versions of libraries
    """

    def __init__(self, clips: Mapping[str, ClipPrediction], facts: Facts, remarks: Sequence[str]):
        self._clips = clips
        self._facts = facts
        self.remarks = tuple(remarks)

    def __getitem__(self, clip_id: str) -> ClipPrediction:
        return self._clips[clip_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clips)

    def __len__(self) -> int:
        return len(self._clips)

    def frame(self) -> pd.DataFrame:
        """A row a clip, with the columns of predictions.parquet."""
        from pipeline.predict.report import to_table

        frame: pd.DataFrame = to_table(list(self.values()), self._facts).to_pandas()
        return frame


def load_run(run: str | Path, device: str = "cpu") -> TrainedRun:
    """One trained run by its folder, or as its results are called: `misr-sample/1111`.

    Raises
    ------
    MsaError : not a run, or a folder of several
    """
    folders = run_folders(given_run(Path(run)))
    if len(folders) > 1:
        listed = ", ".join(folder.name for folder in folders)
        raise MsaError(f"{run}: has runs of the seeds {listed}; give one of them: {folders[0]}")
    with _one_thread():
        (found,) = open_runs(folders, device)
    return found


def extract(
    clips: Paths,
    out: str | Path | None = None,
    *,
    text: str | None = None,
    text_encoder: Names = "minilm",
    audio_encoder: Names = "librosa33",
    visual_encoder: Names = "facemesh",
    language: str = "en",
    asr: str | None = None,
    device: str = "cpu",
    workers: int = 1,
    fresh: bool = False,
    params: str | Path | None = None,
) -> LoadedClips:
    """Features of clips and of folders of clips, as `msa-cli extract` makes them.

    Parameters
    ----------
    out : folder for the files, where what is there already is kept; None = nothing is kept
    text : what is said in the one clip; else a folder's CSV, files beside clips and their subtitles tell it
    text_encoder, audio_encoder, visual_encoder : a name of params.yaml, several, or None
    workers : processes; more than one needs a script whose work stands under `if __name__ == "__main__"`
    params : params.yaml; None = that of the current folder, if there is one

    Raises
    ------
    MsaError : a clip that is not there, an encoder that cannot work; of a clip that fails there is the reason
    """
    from pipeline.features.clip import plan
    from pipeline.features.clip_extraction import extract as work
    from pipeline.features.clip_extraction import make_extractor
    from pipeline.features.clip_files import ClipFolders
    from pipeline.features.clip_texts import texts_of
    from pipeline.params.params import load_params

    encoders = {"text": text_encoder, "audio": audio_encoder, "visual": visual_encoder}
    names = {modality: [NONE] if given is None else _listed(given) for modality, given in encoders.items()}
    videos = _paths(clips)
    with TemporaryDirectory() as temporary:
        folder = Path(out if out is not None else temporary)
        requests = plan(videos, folder)
        if text is not None and len(requests) > 1:
            raise MsaError(f"text belongs to one clip, {len(requests)} were given; extract them one by one")
        said = {path: told for video in videos if video.is_dir() for path, told in texts_of(video)[0].items()}
        if text is not None:
            said = {request.video: text for request in requests}
        loaded = load_params(None if params is None else Path(params))
        make = partial(make_extractor, loaded, names, language, asr, device)
        place = ClipFolders(make().streams, fresh)
        with _one_thread():
            list(work(place.tasks(requests, said), make, place, workers))
        found = load_features(requests[0].out if len(requests) == 1 else folder)
        return found


def predict(
    clips: Paths,
    runs: Paths,
    *,
    text: str | None = None,
    language: str | None = None,
    asr: str | None = None,
    context: bool = False,
    device: str = "cpu",
    params: str | Path | None = None,
) -> ClipPredictions:
    """What trained runs predict of clips and folders of clips, as `msa-cli predict` does.

    Parameters
    ----------
    runs : folders of runs, or as their results are called: `misr-sample` for all seeds
    context : the clips of a folder are one video's utterances, in the order of their names

    Raises
    ------
    MsaError : clips or runs that are not there or do not belong together, features that cannot be made here
    """
    from pipeline.params.params import load_params
    from pipeline.predict.predict import Predictor, clips_of
    from pipeline.predict.predict import predict as work

    named = clips_of(_paths(clips))
    if text is not None and len(named) > 1:
        raise MsaError(f"text belongs to one clip, {len(named)} were given; predict them one by one")
    with _one_thread():
        loaded = load_params(None if params is None else Path(params))
        predictor = Predictor.open([given_run(run) for run in _paths(runs)], loaded, device, asr)
        found = {one.features.clip_id: one for one in work(predictor, named, text, language, context)}
    return ClipPredictions(found, predictor.facts, predictor.remarks)


def _listed(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _paths(given: Paths) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in the DAG, because the last bits of a sum depend on it; afterwards torch has its threads again."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
