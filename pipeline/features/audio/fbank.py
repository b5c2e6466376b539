"""Log-mel bands as Kaldi computes them, by torchaudio (extra `torchaudio`): what AST and its like read.

16 kHz sound > windows of 25 ms, 10 ms apart > less their mean > pre-emphasis 0.97 > Hann > power of the FFT
(512 points) > 80 or 128 triangles on the mel scale, 20 to 8,000 Hz > natural logarithm

Frame k spans the 400 samples from k * 160 on; what is shorter than a window at the end is left out. Without
dither the same sound has the same bytes; nothing is normalised, which a training set does for itself. Samples
are in [-1, 1], as for AST: figures are 20.8 (2 ln 32,768) below Kaldi's own, and none is below -15.9, the log
of float32's epsilon. Of 128 bands some of the lowest hold no bin of the FFT and are always there.
"""

from __future__ import annotations

from typing import Any

from pipeline.core.devices import prepare_device
from pipeline.core.errors import ClipError
from pipeline.core.waveform import SAMPLE_RATE
from pipeline.features.audio.extras import import_extra
from pipeline.features.audio.hf_audio import FrameGrid
from pipeline.features.audio.sound import clip_sound
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.params.encoders import FbankParams

GRID = FrameGrid(400, 160)


class Fbank(Encoder):
    """Energies of mel bands, on a logarithmic scale."""

    modality = "audio"
    frame_rate = SAMPLE_RATE / GRID.hop
    LIBRARIES = ("av", "numpy", "soxr", "torch", "torchaudio")
    CPU_ONLY = True

    params: FbankParams

    @property
    def column_names(self) -> list[str]:
        return [f"mel_{band}" for band in range(self.params.bands)]

    @property
    def provenance(self) -> dict[str, Any]:
        _library()
        return super().provenance

    def load(self) -> None:
        """There are no weights; on CPU the process then computes with one thread."""
        prepare_device(self.device)
        self._kaldi = _library()

    def encode(self, clip: Clip) -> Encoded:
        """Bands of the clip's sound; a silent clip is a good row with a note."""
        import torch

        sound, note = clip_sound(clip, self.limits, SAMPLE_RATE)
        if len(sound) < GRID.reach:
            raise ClipError(
                f"{len(sound)} samples of sound at {SAMPLE_RATE} Hz are less than one frame "
                f"({GRID.reach} samples)"
            )
        bands = self._kaldi.fbank(
            torch.from_numpy(sound)[None].to(self.device),
            sample_frequency=SAMPLE_RATE,
            frame_length=1000 * GRID.reach / SAMPLE_RATE,
            frame_shift=1000 * GRID.hop / SAMPLE_RATE,
            num_mel_bins=self.params.bands,
            window_type="hanning",
            dither=0.0,
        )
        return Encoded(bands.cpu().numpy(), GRID.times(len(bands)), note)


def _library() -> Any:
    """torchaudio's Kaldi, which also must fit this torch."""
    return import_extra(
        "torchaudio.compliance.kaldi",
        "kind fbank needs torchaudio",
        "pip install 'msa-pipeline[torchaudio]', beside a torch for CUDA. Beside one for CPU it imports, and "
        "so does transformers, once the files torchaudio/lib/*.so are removed, which nothing here needs",
    )
