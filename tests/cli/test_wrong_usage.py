"""Wrong options, arguments and paths: one line that names them and how to fix them, and exit code 2."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from made.media_factory import make_clip

from pipeline.cli.app import main

WRONG = [
    # commands, options and arguments
    ("infoo", "Did you mean 'info'? (see msa-cli --help)"),
    ("info", "msa-cli info: Missing argument 'file' (see msa-cli info --help)"),
    ("info a b", "unexpected extra argument(s) (b)"),
    ("info --jsn a", "--json"),
    ("extract", "no clip was given; name one, or a folder of clips: msa-cli extract clip.mp4"),
    ("extract --video", "'--video' requires an argument"),
    ("stage evaluate misr", "Missing argument 'SET'"),
    ("stage train misr sample --seed -1", "'--seed': Input should be greater than or equal to 0"),
    ("stage train misr sample --seed 1.5", "'--seed'"),
    ("stage train misr sample --seed 99999999999999999999", "less than or equal to 9223372036854775807"),
    ("stage ingest sample --workers many", "valid integer"),
    ("stage visual sample facemesh --executor rai", "'rai' is not one of 'local', 'ray'"),
    ("stage visual sample facemesh --timeout nan", "greater than or equal to 1"),
    ("compare HEAD --resamples 99999999999999999999", "less than or equal to 1000000"),
    ("ingest folder folder --name a --range a b", "valid number"),
    ("ingest folder folder --name a --folds 1", "expected at least 2"),
    ("ingest mmsa folder --name a --folds 999999999", "less than or equal to 200"),
    (
        "ingest mmsa folder --name a --folds 5 --by color",
        "--by color: expected speaker, video, clip or published",
    ),
    ("extract --video clip.mkv --set visual.facemesh.fsp=3", "did you mean 'fps'"),
    # names
    ("stage ingest sampel", "did you mean 'sample'"),
    ("stage transcribe sampel", "did you mean 'sample'"),
    ("stage text sample minilmm", "did you mean 'minilm'"),
    ("stage audio sampel librosa33", "did you mean 'sample'"),
    ("stage assemble sampel", "did you mean 'sample'"),
    ("stage train misrr sample", "did you mean 'misr'"),
    ("stage train misrr sample --seed 1", "did you mean 'misr'"),
    ("stage evaluate misrr sample", "did you mean 'misr'"),
    ("stage train misr sampel --seed 1", "did you mean 'sample'"),
    ("tune misrr", "did you mean 'misr'"),
    ("table misrr 4", "did you mean 'misr'"),
    ("validate sampel", "did you mean 'sample'"),
    ("validate folder --kind moosi", "did you mean 'mosi'"),
    ("ingest foldr folder --name a", "did you mean 'folder'"),
    ("fetch bret", "did you mean 'bert'"),
    ("robust run --kind gausian", "did you mean 'gaussian'"),
    # paths
    ("info nothing.parquet", "nothing.parquet: no such file or folder"),
    ("info loop", "loop: no such file or folder"),
    ("info empty", "empty: not a Parquet file; give"),
    ("info folder", "folder: neither a run"),
    ("info run", "run/config.json: cannot be read as JSON"),
    ("info set", "set/stats.json: cannot be read as JSON"),
    (
        "robust nothing --kind erase",
        "nothing: not a run folder (config.json: No such file or directory); run its train stage",
    ),
    ("robust clip.mkv --kind erase", "clip.mkv: not a run folder (config.json: Not a directory)"),
    ("robust run --kind erase", "run: not a run folder (config.json: Expecting property name"),
    ("robust deep --kind erase", "deep: not a run folder (config.json: maximum recursion depth"),
    ("predict --video clip.mkv --run nothing", "nothing: not a run folder (config.json: No such file"),
    ("extract --video nothing.mp4", "nothing.mp4: no such file or folder"),
    ("extract --video pipe.mp4", "a named pipe; give a file or a folder"),
    ("extract --video folder", "folder: no video in this folder"),
    ("extract --video clip.mkv --text-file folder", "'folder' is a directory"),
    ("extract --video clip.mkv --out clip.mkv", "cannot be created (File exists); give a writable folder"),
    ("extract --video clip.mkv --params folder", "folder: cannot be read as YAML: Is a directory"),
    ("extract --video clip.mkv --params list.yaml", "holds a list, expected a mapping"),
    ("ingest folder nothing --name a", "nothing: no such file or folder"),
    ("ingest folder clip.mkv --name a", "'clip.mkv' is a file"),
    ("ingest folder folder --name a", "no videos in it; expected <root>/"),
    ("ingest mosi folder --name a", "label.csv: no such file; "),
    ("import nothing.pkl --name a", "nothing.pkl: no such file or folder"),
    ("import empty --name a --mapping list.yaml", "holds a list, expected a mapping"),
    ("report --results clip.mkv", "'clip.mkv' is a file"),
    ("compare HEAD", "is not the working folder of a git repository"),
    ("why", "has no dvc.yaml; run this in the project's folder"),
    ("why train --jsn", "--json"),
    ("runs --jsn", "--json"),
    ("runs misr", "unexpected extra argument(s) (misr)"),
    ("merge-lock list.yaml list.yaml", "Missing argument '%B'"),
    ("merge-lock nothing list.yaml list.yaml", "'nothing' does not exist"),
    ("merge-lock list.yaml list.yaml list.yaml", "list.yaml: not a dvc.lock; merge it by hand"),
    ("significance nothing --against nothing", "'nothing' is not known"),
]


@pytest.fixture(scope="module")
def folder(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("wrong")
    shutil.copy(project / "params.yaml", root)
    make_clip(root / "clip.mkv", times=[0.0, 0.1])
    for name, text in {
        "empty": "",
        "list.yaml": "- a\n",
        "run/config.json": "{",
        "set/stats.json": "{",
        "deep/config.json": "[" * 100_000,
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    os.mkfifo(root / "pipe.mp4")
    (root / "folder").mkdir()
    (root / "loop").symlink_to("loop")
    return root


@pytest.mark.parametrize(("command", "expected"), WRONG)
def test_one_line_and_how_to_fix_it(
    command: str,
    expected: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["msa-cli", *command.split()])
    assert main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("msa-cli") and expected in line
