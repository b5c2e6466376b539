"""What recognition and alignment gave, clip by clip as they come, so that a killed or repeated run goes on.

Only what worked is kept, one JSON line a clip: a key over all that its result depends on (the media's bytes,
the part that is the clip, what was known of it, the models, settings, code and libraries), and the result. It
is no output of a stage: without the file everything is computed again, with the same result.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models.core.checkpoints import model_identity
from pipeline.core.files import atomic_write
from pipeline.params.params import MediaLimits
from pipeline.params.transcribe import TranscribeParams

CODE = (
    "media/containers.py",
    "media/decode.py",
    "media/words.py",
    "transcripts/recognition.py",
    "transcripts/alignment.py",
    "../models/core/recognizers.py",
)
LIBRARIES = ("av", "numpy", "scipy", "soxr", "tokenizers", "torch", "transformers")


class Heard:
    """Results of earlier runs, read once, and a file that new ones are added to.

    Parameters
    ----------
    file : where they are kept; made when the first result comes
    fresh : forget what is there
    """

    def __init__(self, file: Path, settings: TranscribeParams, limits: MediaLimits, device: str, fresh: bool):
        self.file = file
        self._used: dict[str, str] = {}  # key -> line
        folder = Path(__file__).parents[1]
        parts = {"asr": settings.asr, "align": settings.align}
        self._conditions = {
            "code": [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in CODE],
            "libraries": {name: version(name) for name in LIBRARIES},
            "limits": limits.model_dump(mode="json"),
            "device": device.split(":")[0],
            "models": {
                name: [model_identity(*source) for source in part.checkpoints()]
                for name, part in parts.items()
            },
            "asr": settings.asr.model_dump(mode="json", exclude={"model", "revision"}),
        }
        self._known: dict[str, str] = {}
        self._whole = True  # the file ends with a whole line
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            self._whole = not lines or lines[-1].endswith("\n")
            for line in [] if fresh else lines:
                key, _, result = line.partition("\t")
                if result.endswith("\n"):  # else the run was killed while it wrote
                    self._known[key] = line

    def key(self, media_sha256: str, known: dict[str, Any]) -> str:
        """The key of a clip: its media's bytes, and what was known of it before."""
        whole = [self._conditions, media_sha256, known]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def find(self, key: str) -> dict[str, Any] | None:
        """The earlier result, or None."""
        line = self._known.get(key)
        if line is None:
            return None
        try:
            result: dict[str, Any] = json.loads(line.partition("\t")[2])
        except ValueError:  # half a line, of a run that was killed
            return None
        self._used[key] = line
        return result

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Keep a result, at once."""
        line = f"{key}\t{json.dumps(result)}\n"
        self._used[key] = line
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(line if self._whole else "\n" + line)
        self._whole = True

    def tidy(self) -> None:
        """Drop what this run did not ask for; called at its end."""
        if not self._used:
            return
        with atomic_write(self.file) as temporary:
            temporary.write_text("".join(self._used[key] for key in sorted(self._used)), encoding="utf-8")
