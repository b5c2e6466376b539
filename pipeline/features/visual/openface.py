"""OpenFace 2.x (Baltrusaitis et al. 2018): its program FeatureExtraction, or tables that it made elsewhere.

`binary` (or FeatureExtraction on the PATH): the program reads the clip's file itself, in a process group of
its own with a time limit, and writes a CSV into a folder that is then removed. A clip that is a window of a
longer file takes its rows from the table of the whole file, whose last one is kept in memory for the clips
that follow. Frames are those that OpenFace's OpenCV decodes; its clock begins at the first of them.

`csv`: a folder of tables. For clip `video$_$clip` of the file `stem.mp4` these are looked for, in this
order: `video/clip.csv` (of the clip alone), `video/stem.csv`, `stem.csv` (of the file, so that a window is
cut out of it). The last is not looked for where the file itself lies in a folder named after its video,
because then other videos have a `stem` too. All tables of the folder are part of the model's identity: one
that changes has all clips read again, which costs seconds.

Columns and units: core/openface_layout.py; `openface709` = the 709 columns from index 5 on, as ready-made
features of the field hold them (no `confidence`, no `success`; frames without success are zero all the same).
Both ways the choice of a face and what becomes of bad rows are formats/openface_csv.py's.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.core.errors import AbsentError, ClipError, ClipTimeoutError, MissingDependencyError, ParamsError
from pipeline.core.files import file_hash
from pipeline.core.openface_layout import FLAGS, OPENFACE, OPENFACE_709, columns_of
from pipeline.core.vocabulary import SEPARATOR
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.features.visual.no_face import notes_on
from pipeline.formats.openface_csv import FaceTable, read_table
from pipeline.media.decode import probe
from pipeline.media.windows import check_length
from pipeline.params.encoders import OpenFaceParams

PROGRAM = "FeatureExtraction"
LONGEST_RUN_S = 540.0  # below the ten minutes that a clip may take, so that it ends before its parent
_PROBE_S = 20.0
_OUTPUTS = ("-2Dfp", "-3Dfp", "-pdmparams", "-pose", "-aus", "-gaze")
_MODEL_FOLDERS = ("model", "AU_predictors", "classifiers")
_MESSAGE_BYTES = 4096


class OpenFace(Encoder):
    """Landmarks, pose, gaze, action units and shape parameters as OpenFace measures them."""

    modality = "visual"
    LIBRARIES = ("numpy", "pandas")
    CPU_ONLY = True
    params: OpenFaceParams
    _last: tuple[tuple[Path, int, int], FaceTable] | None = None

    def check_settings(self) -> None:
        _ = self.column_names

    @cached_property
    def column_names(self) -> list[str]:
        if self.params.groups == "openface709":
            return OPENFACE_709
        return columns_of(OPENFACE, self.params.groups, f"visual.{self.name}")

    @cached_property
    def model_identity(self) -> str:
        """SHA-256 of the program and of its models' names and sizes; or of the tables in the `csv` folder."""
        if self.params.csv is not None:
            kind, folder = "csv", self._csv_folder()
            lines = [
                f"{path.relative_to(folder).as_posix()}\0{file_hash(path)}\n"
                for path in sorted(folder.rglob("*.csv"))
            ]
        else:
            kind, binary = "openface", self._binary()
            lines = [f"{file_hash(binary)}\n"] + [
                f"{path.relative_to(binary.parent).as_posix()}\0{path.stat().st_size}\n"
                for name in _MODEL_FOLDERS
                for path in sorted((binary.parent / name).rglob("*"))
                if path.is_file()
            ]
        return f"{kind}:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the numbers come from; what lies where on this machine is not part of it."""
        known = super().provenance
        return {**known, "params": {**known["params"], "binary": None, "csv": None}}

    @property
    def needs_media(self) -> bool:
        return self.params.csv is None

    def load(self) -> None:
        if self.params.csv is not None:
            self._csv_folder()
            return
        binary = self._binary()
        try:  # without arguments it says where its manual is, if it can run at all
            done = subprocess.run(
                [str(binary)], stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_S, check=False
            )
        except subprocess.TimeoutExpired:
            return
        except OSError as error:
            raise self._unusable(f"{binary} does not start: {error.strerror}") from error
        said = done.stderr[-_MESSAGE_BYTES:].decode(errors="replace").strip()
        if done.returncode == 127 or "shared librar" in said:
            raise self._unusable(f"{binary} does not start: {said or 'exit code 127'}")

    def encode(self, clip: Clip) -> Encoded:
        if self.params.csv is not None:
            path, whole = self._table_of(clip)
            table = self._cached(path, lambda: read_table(path, self.column_names))
        else:
            if clip.path is None:
                raise AbsentError("no video file")
            info = probe(clip.path, self.limits)
            if not info.has_video:
                raise AbsentError(f"{clip.path.name}: no video track")
            whole = True
            if clip.start_s is None and clip.end_s is None:
                check_length(info.duration_s, self.limits, clip.path)
            path = clip.path.resolve()
            table = self._cached(path, lambda: self._run(path))
        face = table.track(clip.start_s, clip.end_s) if whole else table.track()
        check_length(float(face.times[-1]), self.limits, clip.path or Path(table.name))
        values = face.values
        if self.column_names[: len(FLAGS)] == FLAGS:
            values[:, FLAGS.index("success")] = face.success
        notes = face.notes + notes_on(face.success.astype(int).tolist())
        return Encoded(values, face.times, "; ".join(notes))

    # ------------------------------------------------------------------------------------------ the program
    def _binary(self) -> Path:
        """The program's file, links resolved, because its models lie beside it."""
        if self.params.binary is None:
            found = shutil.which(PROGRAM)
            if found is None:
                raise self._unusable(f"the program {PROGRAM} of OpenFace is not on the PATH")
        else:
            found = self.params.binary
            if not os.path.isfile(found):
                raise self._unusable(f"visual.{self.name}.binary is {found!r}, which is not a file")
            if not os.access(found, os.X_OK):
                raise self._unusable(f"visual.{self.name}.binary is {found!r}, which is not executable")
        return Path(found).resolve()

    def _unusable(self, why: str) -> MissingDependencyError:
        return MissingDependencyError(
            f"visual encoder {self.name!r}: {why}. OpenFace is not a Python package: build it from "
            "github.com/TadasBaltrusaitis/OpenFace (its models are fetched by its download_models.sh) and "
            f"give the path of {PROGRAM} as visual.{self.name}.binary; or give a folder of CSV files made "
            f"elsewhere as visual.{self.name}.csv; or use the encoder facemesh, which needs neither"
        )

    def _run(self, path: Path) -> FaceTable:
        """The program's table of a whole file."""
        with TemporaryDirectory(prefix="openface-") as folder:
            out, output, errors = (Path(folder, name) for name in ("out", "stdout", "stderr"))
            out.mkdir()
            with open(output, "wb") as stdout, open(errors, "wb") as stderr:
                arguments = ["-f", str(path), "-out_dir", str(out), "-of", "clip", "-q", *_OUTPUTS]
                try:
                    process = subprocess.Popen(
                        [str(self._binary()), *arguments],
                        cwd=folder,
                        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                        stdin=subprocess.DEVNULL,
                        stdout=stdout,
                        stderr=stderr,
                        start_new_session=True,
                        preexec_fn=_die_with_parent,
                    )
                except OSError as error:
                    raise self._unusable(f"{PROGRAM} does not start: {error.strerror}") from error
                try:
                    code = process.wait(LONGEST_RUN_S)
                except subprocess.TimeoutExpired:
                    raise ClipTimeoutError(
                        f"{path.name}: {PROGRAM} was stopped after {LONGEST_RUN_S:g} s; cut the video into "
                        "shorter files"
                    ) from None
                finally:
                    _end(process)
            tables = sorted(out.glob("*.csv"))
            if code or len(tables) != 1:
                ended = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                said = _last_line(errors) or _last_line(output) or "it says nothing"
                wrote = "" if code else f" and wrote {len(tables)} tables instead of one"
                raise ClipError(f"{path.name}: {PROGRAM} {ended}{wrote}: {said}")
            return read_table(tables[0], self.column_names)

    # --------------------------------------------------------------------------------------------- the tables
    def _csv_folder(self) -> Path:
        folder = Path(self.params.csv or "")
        if not folder.is_dir():
            raise ParamsError(
                f"visual.{self.name}.csv is {self.params.csv!r}, which is not a folder; expected one with a "
                "CSV file of OpenFace for each clip"
            )
        return folder

    def _table_of(self, clip: Clip) -> tuple[Path, bool]:
        """The clip's table, and whether it is the whole file's, out of which a window is cut."""
        folder = self._csv_folder()
        video, _, name = clip.clip_id.rpartition(SEPARATOR)
        places: dict[str, bool] = {f"{video}/{name}.csv": False} if video else {}
        if clip.path is not None:
            stem = clip.path.stem
            if video:
                places.setdefault(f"{video}/{stem}.csv", True)
            if not video or clip.path.parent.name != video:
                places[f"{stem}.csv"] = True
        elif not video:
            places[f"{name}.csv"] = True
        root = folder.resolve()
        for place, whole in places.items():
            table = (root / place).resolve()  # an id from a label file may hold `..`
            if table.is_relative_to(root) and table.is_file():
                return table, whole
        raise ClipError(
            f"{clip.clip_id}: no table of OpenFace in visual.{self.name}.csv; "
            f"looked for {' or '.join(places)}"
        )

    def _cached(self, source: Path, make: Callable[[], FaceTable]) -> FaceTable:
        """What `make` makes of a file; the last table, if it was made from the file as it is."""
        try:
            stat = source.stat()
        except OSError as error:
            raise ClipError(f"{source.name}: cannot be read: {error.strerror}") from error
        stamp = source, stat.st_size, stat.st_mtime_ns
        if self._last is None or self._last[0] != stamp:
            self._last = stamp, make()
        return self._last[1]


def _die_with_parent() -> None:
    """In the program, before it starts: it ends when the worker does, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program, and everything that it started, if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(path: Path) -> str:
    """The last line that is not blank, of what a program wrote."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - _MESSAGE_BYTES))
        text = file.read().decode(errors="replace")
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "")
