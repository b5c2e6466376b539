"""`msa-cli fetch`: pretrained models of the hub into its cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import completion
from pipeline.cli.options import ParamsFile
from pipeline.core.console import note, say


def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Encoders of params.yaml (bert, blendshapes ...), Whisper models (base, small, large-v3, "
            "turbo), or hub ids (owner/model@COMMIT).",
            autocompletion=completion.encoders,
        ),
    ],
    pin: Annotated[
        bool, typer.Option(help="Write the commits into params.yaml where a model has none.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a param: transcribe.asr.engine=faster-whisper"
        ),
    ] = None,
    params: ParamsFile = None,
) -> None:
    """Fetch pretrained models into the cache of huggingface_hub, a folder that can be copied elsewhere.

    Example: HF_HUB_CACHE=folder msa-cli fetch bert hubert --pin; elsewhere: HF_HUB_CACHE=folder dvc repro
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    from models.core.checkpoints import download
    from pipeline.features import fetch as fetching
    from pipeline.features.visual.face import task_file
    from pipeline.params import edit
    from pipeline.params.params import PARAMS_FILE, load_params

    known = load_params(params, overrides)
    commits: dict[tuple[str, ...], str] = {}
    tasks = [name for name in names if fetching.reads_the_task_file(name, known)]
    if tasks:
        say(f"{', '.join(tasks)}: {task_file.download()}")
    for wanted in fetching.wanted_models([name for name in names if name not in tasks], known):
        folder = download(wanted.model, wanted.revision, fetching.FETCHED)
        commits |= dict.fromkeys([wanted.key, *fetching.unpinned(wanted.model, known)], folder.name)
        size = sum(path.stat().st_size for path in folder.iterdir())
        say(f"{wanted.model}: {size / 1e6:.0f} MB\n  {'.'.join(wanted.key) or 'commit'}: {folder.name}")
    if pin:
        written = edit.pin(commits, params or Path(PARAMS_FILE))
        say(f"written into {params or PARAMS_FILE}: {', '.join(written) or 'nothing'}")
    note(f"all in {HF_HUB_CACHE}; on another machine: HF_HUB_CACHE=FOLDER HF_HUB_OFFLINE=1", stdout=True)
