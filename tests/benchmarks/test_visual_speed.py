"""The face mesh encoder costs hardly more than MediaPipe's mesh: decoding and geometry hide behind it."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from pipeline.encoders import Clip
from pipeline.media import frames
from pipeline.params import FaceMesh as Params
from pipeline.params import MediaLimits
from pipeline.visual.facemesh import FaceMesh

LARGEST_RATIO = 1.3
CLIP_S = 10.0
ROUNDS = 9


@pytest.mark.benchmark
@pytest.mark.shared
def test_cost_over_the_mesh_alone(shared: Path) -> None:
    """Seconds for a clip of 640x360 over seconds for its frames, already decoded, in the mesh alone."""
    from mediapipe.python.solutions.face_mesh import FaceMesh as Mesh

    path = shared / "clips/pyfeat/WolfgangLanger_Pexels.mp4"
    images = [frame.image for frame in frames(path, MediaLimits(), end_s=CLIP_S)]
    encoder = FaceMesh("facemesh", Params(), MediaLimits())
    encoder.load()
    ratios, rates = [], []
    with Mesh(max_num_faces=Params().max_faces, refine_landmarks=True) as mesh:
        for image in images[:10]:  # the first calls set up threads and memory
            mesh.process(image)
        for _ in range(ROUNDS):  # interleaved: a busy machine slows both
            start = time.perf_counter()
            for image in images:
                mesh.process(image)
            alone = time.perf_counter() - start
            start = time.perf_counter()
            encoder.encode(Clip("clip", path, end_s=CLIP_S))
            whole = time.perf_counter() - start
            ratios.append(whole / alone)
            rates.append(len(images) / whole)
    ratio = statistics.median(ratios)
    print(f"\nfacemesh: {ratio:.2f} x the mesh alone, {statistics.median(rates):.0f} frames/s at 640x360")
    assert ratio <= LARGEST_RATIO, sorted(ratios)
