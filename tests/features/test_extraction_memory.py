"""How much memory a long video takes: three minutes in 1080p, by the encoders of the default path."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made.media_factory import make_clip, tone

MINUTES = 3
MOST_MB = 500  # 343 were seen, of which 158 are the libraries

PROGRAM = """
import re, sys
from pathlib import Path
from pipeline.features.encoder import Clip
from pipeline.features.registry import build_encoder
from pipeline.params.params import Params

def peak_mb():  # of this program; getrusage's would include that of the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

params = Params()
clip = Clip("long", path=Path(sys.argv[1]))
for modality, name, changes in (("visual", "facemesh", {"fps": 1.0}), ("audio", "waveform16k", {})):
    settings = params.encoder(modality, name).model_copy(update=changes)
    encoder = build_encoder(modality, name, settings, params.media)
    encoder.load()
    before = peak_mb()
    frames = len(encoder.encode(clip).features)
    print(frames, before, peak_mb())
"""


@pytest.mark.slow
def test_three_minutes_of_1080p(tmp_path: Path, project: Path) -> None:
    """Decoded at once its pictures would take 5.6 GB; here at five frames a second, to be made in time."""
    path = make_clip(
        tmp_path / "long.mp4",
        times=np.arange(MINUTES * 60 * 5) / 5,
        size=(1920, 1080),
        video_codec="libx264",
        options={"preset": "ultrafast", "crf": "40"},
        sound=tone(220, MINUTES * 60.0, 16_000),
        audio_codec="aac",
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True, cwd=project
    )
    (seen, _, visual), (heard, _, audio) = (map(int, line.split()) for line in done.stdout.splitlines())
    print(done.stdout)
    assert seen == MINUTES * 60 and heard == pytest.approx(MINUTES * 60 * 16_000, rel=1e-3)
    assert max(visual, audio) < MOST_MB
