"""What a folder's table of labels says of its clips: the CSV that `msa-cli ingest folder` reads."""

from __future__ import annotations

from pathlib import Path

from pipeline.corpora.kinds.folder import FolderSettings, survey
from pipeline.params.params import DatasetParams

OF_FORM = ("file", "encoding", "empty", "csv", "columns", "delimiter", "fields", "ids")  # not of its labels


def texts_of(folder: Path, table: str | None = None) -> tuple[dict[Path, str], list[str]]:
    """Text by file, of the one CSV in the folder or of `table` below it; and what a reader should know.

    Texts of parts of a file (`start_s`, `end_s`) are left out: a file is extracted whole.
    """
    if table is None and len([path for path in folder.iterdir() if path.suffix.lower() == ".csv"]) != 1:
        return {}, []
    dataset = DatasetParams(kind="folder", root=str(folder))
    found = survey(folder.name, dataset, FolderSettings(labels=table))
    said = [clip for clip in found.clips if clip.text and clip.path is not None]
    whole = [clip for clip in said if clip.start_s is None]
    remarks = [f"{found.source}: {finding}" for finding in found.problems if finding.check in OF_FORM]
    if len(said) > len(whole):
        remarks.append(
            f"{found.source}: {len(said) - len(whole)} texts are of parts of a file (start_s), which is "
            "extracted whole; they are ignored"
        )
    return {folder / str(clip.path): str(clip.text) for clip in whole}, remarks
