"""`msa-cli explain`: what carries a trained run's predictions."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import Context, ModelPlaces, ParamsFile, SpeechOptions, with_options
from pipeline.core.console import note, say, show, tracked
from pipeline.core.errors import ClipError, MsaError

if TYPE_CHECKING:
    from pipeline.explain.evidence import How
    from pipeline.explain.explain import Explainer, Explanation
    from pipeline.params.params import Params
    from pipeline.predict.prediction import ClipFeatures

FORMATS = ("html", "pdf")


def _known_format(given: str) -> str:
    if given not in FORMATS:
        raise MsaError(f"--format {given}: expected {' or '.join(FORMATS)}")
    return given


@with_options
def explain(
    run: Annotated[
        Path,
        typer.Option(
            help="Run folder of one seed: runs/misr-mosi/1111.", autocompletion=completion.run_folders
        ),
    ],
    speech: SpeechOptions,
    video: Annotated[
        list[Path] | None,
        typer.Option(help="A new clip, or a folder of clips. May be repeated."),
    ] = None,
    clip: Annotated[
        list[str] | None, typer.Option(help="Id of a test clip of the run's set. May be repeated.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(help="Language of new clips, ISO 639-1. Default: that of the training corpus, or en."),
    ] = None,
    context: Context = False,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Evidence by integrated gradients instead of occlusion.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for cards and pages.", file_okay=False)] = Path(
        "explained"
    ),
    form: Annotated[str, typer.Option("--format", help="html or pdf.", callback=_known_format)] = "html",
    device: Annotated[str, typer.Option(envvar="MSA_DEVICE", help="cpu, cuda, cuda:1 ...")] = "cpu",
    params: ParamsFile = None,
    settings: ModelPlaces = None,
) -> None:
    """Show what drives a run's predictions: modalities, words, moments of sound, pictures, similar clips.

    Writes a card for each new clip (--video) or test clip (--clip); without either, a page of the 20 most
    telling test clips, with the mean contribution of each modality. Contributions are Shapley values. The
    features of new clips are made as `predict` makes them, those of test clips are read from the project in
    the current folder. Exits with status 1 if a clip could not be explained.

    Example: msa-cli explain --video clip.mp4 --text "It was great." --run runs/misr-mosi/1111
    """
    from pipeline.execution.local import THREADS

    os.environ.update(THREADS)  # before NumPy is there: the same numbers as in the DAG
    from pipeline.explain.explain import Explainer
    from pipeline.params.params import load_params
    from pipeline.predict.predict import Predictor, clips_of, extracted
    from pipeline.training.runs import open_runs, run_folders

    if video and clip:
        raise MsaError("--video and --clip were both given; give one of them")
    if not video and (speech.text is not None or speech.text_file is not None):
        raise MsaError("--text and --text-file belong to a --video; the texts of test clips are known")
    if context and not video:
        raise MsaError("--context belongs to a --video; what was said before test clips is known")
    folders = run_folders(run)
    if len(folders) > 1:
        raise MsaError(f"--run {run} has {len(folders)} seeds; explain one, e.g. --run {folders[0]}")
    loaded = load_params(params, settings)
    how: How = "gradients" if gradients else "occlusion"
    passed_over: dict[str, str] = {}
    files = clips_of(video, passed_over) if video else {}
    for path, reason in passed_over.items():
        note(f"{path}: skipped: {reason}")
    text = speech.said(len(files), "explain")
    out.mkdir(parents=True, exist_ok=True)
    if video:
        explainer = Explainer(Predictor.open(folders, loaded, device, speech.asr), how)
        work = extracted(explainer.predictor, files, text, language, context)
        _new_clips(explainer, tracked(work, "explaining", len(files)), out, form)
        return
    runs = open_runs(folders, device)
    explainer = Explainer(Predictor.without_encoders(runs, loaded), how)
    if clip:
        _test_clips(explainer, loaded, clip, out, form)
    else:
        _page(explainer, loaded, out, form)


def _new_clips(
    explainer: Explainer,
    clips: Iterable[tuple[ClipFeatures, list[ClipFeatures] | None]],
    out: Path,
    form: str,
) -> None:
    failed = []
    for features, before in clips:
        try:
            found = explainer.explain(features, before)
        except ClipError as error:
            failed.append(str(error))
            continue
        _write(found, out, form)
    for remark in explainer.predictor.remarks:
        note(f"note: {remark}")
    for reason in failed:
        say(reason, error=True)
    if failed:
        raise typer.Exit(1)


def _test_clips(explainer: Explainer, params: Params, clips: list[str], out: Path, form: str) -> None:
    from pipeline.explain.stored import StoredClips

    stored = StoredClips.of(explainer.run, params)
    found = stored.features(clips)
    for name in tracked(list(found), "explaining", len(found)):
        _write(explainer.explain(*found[name], label=stored.labels.get(name)), out, form)


def _page(explainer: Explainer, params: Params, out: Path, form: str) -> None:
    """The clips that tell most, and what all test clips say together."""
    from pipeline.explain.explain import MOST_TELLING, Contributions
    from pipeline.explain.run_page import means_table, write_page
    from pipeline.explain.stored import StoredClips
    from pipeline.reports.blocks import Heading, as_renderables

    stored = StoredClips.of(explainer.run, params)
    test = Contributions.of(explainer.run, explainer.splits["test"])
    found = stored.features(test.most_telling(MOST_TELLING))
    cards = [
        explainer.explain(*found[name], label=stored.labels.get(name))
        for name in tracked(list(found), "explaining", len(found))
    ]
    path = out / f"{explainer.run.title}.{form}"
    write_page(explainer.run, test, cards, path)
    title = f"What each modality contributes, over {len(test.clip_ids)} test clips"
    show(*as_renderables([Heading(title), means_table(test)]))
    say(str(path))


def _write(found: Explanation, out: Path, form: str) -> None:
    """The card, and on screen what it says first."""
    from pipeline.explain.card import contributions, title_of, write_card
    from pipeline.reports.blocks import Heading, Table, as_renderables

    clip = found.prediction
    path = out / f"{clip.features.clip_id.replace('/', '_')}.{form}"
    write_card(found, path)
    rows = [[modality, place.name, f"{value:+.3f}"] for modality, place, value in found.strongest(5)]
    strongest = Table(["modality", "strongest evidence", ""], rows, words=(0, 1))
    show(*as_renderables([Heading(title_of(clip)), contributions(clip), strongest]))
    for caution in clip.cautions:
        note(f"note: {caution}")
    say(str(path))
