"""Log F0 (or what stands for it), 20 MFCC and 12 chroma: 33 columns on one frame grid.

waveform ─▶ pYIN ─▶ f0_log │ STFT ─▶ mel (HTK) ─▶ mfcc_0..19 │ CQT ─▶ chroma_0..11

Frame k is centred on sample k * hop_length; n samples give 1 + n // hop_length frames (the waveform is padded
with zeros at both ends). Defaults: 22,050 Hz, hop 512, i.e. 43.07 frames a second, as in the released CH-SIMS
features, whose extractor is librosa as well.

  f0_log   natural log of the fundamental frequency in Hz by pYIN (Mauch & Dixon 2014); 0 where unvoiced.
           Settings other than `f0: pyin` put something else here, see below
  mfcc_i   `librosa.feature.mfcc(n_mfcc=20, htk=True)`: DCT-II of the log power of 128 HTK mel bands
  chroma_i `librosa.feature.chroma_cqt()`: energy of pitch class i (0 = C, 9 = A), the largest of a frame is 1

The first column by `f0`:
  pyin     as above: the best of them, and nearly all of the cost of the 33 columns
  yin      f0_log by YIN (de Cheveigné & Kawahara 2002): many times faster. It decides no voicing: every frame
           has a pitch, also noise and silence, where it means nothing
  praat    f0_log by Praat's autocorrelation (Boersma 1993; extra `praat`), 0 where unvoiced. Praat's frames
           lie elsewhere than ours by up to half a hop; each of ours takes the nearest
  zcr      zero-crossing rate of each frame (`librosa.feature.zero_crossing_rate`), 0 to 1, in the column
           `zcr`. The released CH-SIMS and MIRD features hold it under the name F0: it is no pitch

What differs from calling these three functions one by one, and what it changes:
- pYIN looks for f0_min..f0_max (65.4-500 Hz, C2 to B4: speech) instead of C2-C7. Its Viterbi search is
  quadratic in the number of pitch bins (353 instead of 601), which is nearly all of the cost. Where both
  find a voice the values agree; singing above 500 Hz is lost. The resolution stays at 10 cents: coarser
  bins are faster, but lose voiced frames. A lower f0_min makes 60 Hz mains hum a voice.
- A frame whose pitch is the lowest bin is unvoiced: hum below f0_min pulls the search to the end of its
  range, where pyin takes the slope for a period (a quarter of the "voiced" frames of a LibriSpeech clip).
- One STFT serves the MFCC and the tuning estimate of the chroma: the same numbers.
- Clips shorter than a transform's filters (3.2 s for the CQT) are padded with zeros before it and cut after
  it. librosa would warn; chroma near the end of such clips differs by about 0.01.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import ClipError, ParamsError
from pipeline.core.files import lock
from pipeline.features.audio.extras import import_extra
from pipeline.features.audio.sound import clip_sound
from pipeline.features.encoder import Clip, Encoded, Encoder
from pipeline.params.encoders import Librosa33Params
from pipeline.params.params import MediaLimits

N_MFCC = 20
N_CHROMA = 12
PITCH_BINS = 10  # per semitone: 10 cents
PITCH_SPEED = 35.92  # octaves a second that the pitch may change by (pyin's default)
WINDOW = 2048  # samples of the STFT and of pyin's frames
BINS_PER_OCTAVE = 36  # of the CQT, seven octaves from C1
CQT_SECONDS = 3.2  # its longest filter: C1, 1.6 s, up to the next power of two
PRAAT_PERIODS = 3  # of the lowest pitch, in one of Praat's windows
PRAAT = "praat-parselmouth"
CQT_TOP_HZ = 4_500.0  # the CQT's highest filter (C8 with its bandwidth and tuning) ends below this


class Librosa33(Encoder):
    """Prosody (F0), timbre (MFCC) and harmony (chroma) with librosa."""

    modality = "audio"
    LIBRARIES = ("av", "librosa", "llvmlite", "numba", "numpy", "scipy", "soxr")
    CPU_ONLY = True

    params: Librosa33Params

    def check_settings(self) -> None:
        key, params = f"audio.{self.name}", self.params
        if params.sample_rate < 2 * CQT_TOP_HZ:
            raise ParamsError(
                f"{key}.sample_rate is {params.sample_rate}; chroma reaches up to {CQT_TOP_HZ:g} Hz, "
                f"so at least {2 * CQT_TOP_HZ:g} are needed"
            )
        lowest = 2 * params.sample_rate / WINDOW
        if params.f0 == "zcr":
            return
        if not lowest < params.f0_min < params.f0_max < params.sample_rate / 2:
            raise ParamsError(
                f"{key}.f0_min is {params.f0_min:g} and f0_max {params.f0_max:g}; at {params.sample_rate} Hz "
                f"expected {lowest:.1f} (two periods in {WINDOW} samples) < f0_min < f0_max < "
                f"{params.sample_rate / 2:g}"
            )
        reach = round(PITCH_SPEED * 12 * params.hop_length / params.sample_rate)
        semitones = 12 * np.log2(params.f0_max / params.f0_min)
        if params.f0 == "pyin" and reach > semitones:
            raise ParamsError(
                f"{key}.hop_length is {params.hop_length}: from frame to frame the pitch could change by "
                f"{reach} semitones, but f0_min..f0_max span {semitones:.1f}; take a shorter hop"
            )

    @property
    def column_names(self) -> list[str]:
        first = "zcr" if self.params.f0 == "zcr" else "f0_log"
        return [first, *(f"mfcc_{i}" for i in range(N_MFCC)), *(f"chroma_{i}" for i in range(N_CHROMA))]

    @property
    def frame_rate(self) -> float:
        return self.params.sample_rate / self.params.hop_length

    @property
    def provenance(self) -> dict[str, Any]:
        known = super().provenance
        if self.params.f0 == "praat":
            _parselmouth()
            known["libraries"] = {**known["libraries"], PRAAT: version(PRAAT)}
        return known

    def load(self) -> None:
        """There are no weights; librosa's import takes seconds, so it is done here."""
        compile_once()
        import librosa  # noqa: F401

        if self.params.f0 == "praat":
            _parselmouth()

    def encode(self, clip: Clip) -> Encoded:
        """Features of the clip's sound; a silent clip is a good row with a note."""
        y, note = clip_sound(clip, self.limits, self.params.sample_rate)
        features = self.features(y)
        times = np.arange(len(features)) * (self.params.hop_length / self.params.sample_rate)
        return Encoded(features, times.astype(np.float32), note)

    def features(self, y: np.ndarray) -> np.ndarray:
        """Features of a waveform, shape (1 + n_samples // hop_length, 33), float32, finite.

        `y` has shape (n_samples,), float32 in [-1, 1], at `params.sample_rate`; ClipError where it is shorter
        than one hop.
        """
        import librosa

        rate, hop = self.params.sample_rate, self.params.hop_length
        if len(y) < hop:
            raise ClipError(f"{len(y)} samples of sound at {rate} Hz are less than one frame ({hop} samples)")
        n_frames = 1 + len(y) // hop
        spectrum = np.abs(librosa.stft(_at_least(WINDOW, y), n_fft=WINDOW, hop_length=hop))  # (1025, frames)
        mel = librosa.feature.melspectrogram(S=spectrum**2, sr=rate, n_fft=WINDOW, htk=True)
        whole, tuning = _at_least(int(CQT_SECONDS * rate), y), _tuning(spectrum, rate)
        columns = [
            self._first_column(y)[None],
            librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=rate, n_mfcc=N_MFCC),
            librosa.feature.chroma_cqt(y=whole, sr=rate, hop_length=hop, tuning=tuning),
        ]
        return np.concatenate([rows[:, :n_frames] for rows in columns]).T.astype(np.float32, order="C")

    def _first_column(self, y: np.ndarray) -> np.ndarray:
        """Log F0 or zero-crossing rate, shape (at least 1 + n_samples // hop_length,)."""
        import librosa

        rate, hop = self.params.sample_rate, self.params.hop_length
        grid: dict[str, Any] = {"frame_length": WINDOW, "hop_length": hop}
        pitches: dict[str, Any] = {"fmin": self.params.f0_min, "fmax": self.params.f0_max, "sr": rate}
        match self.params.f0:
            case "zcr":
                rates: np.ndarray = librosa.feature.zero_crossing_rate(y, **grid)[0]
                return rates
            case "yin":
                f0 = librosa.yin(y, **pitches, **grid)
            case "praat":
                f0 = self._praat(y)
            case _:
                f0, voiced, _ = librosa.pyin(
                    y, **pitches, **grid, resolution=1 / PITCH_BINS, max_transition_rate=PITCH_SPEED
                )
                # upper edge of the first bin, Hz
                lowest = self.params.f0_min * 2 ** (0.5 / (12 * PITCH_BINS))
                f0 = np.where(voiced & (f0 > lowest), f0, 0.0)
        return np.log(np.where(f0 > 0, f0, 1.0))

    def _praat(self, y: np.ndarray) -> np.ndarray:
        """F0 in Hz at each of our frames, 0 where Praat finds no voice or has no frame near."""
        rate, hop = self.params.sample_rate, self.params.hop_length
        whole = _at_least(int(np.ceil((PRAAT_PERIODS + 1) / self.params.f0_min * rate)), y)
        pitch = (
            _parselmouth()
            .Sound(whole.astype(np.float64), rate)
            .to_pitch(time_step=hop / rate, pitch_floor=self.params.f0_min, pitch_ceiling=self.params.f0_max)
        )
        at, f0 = pitch.xs(), pitch.selected_array["frequency"]
        times = np.arange(1 + len(y) // hop) * hop / rate
        nearest = np.rint((times - at[0]) * rate / hop).astype(int)
        inside = (nearest >= 0) & (nearest < len(f0))
        return np.where(inside, f0[nearest.clip(0, len(f0) - 1)], 0.0)


def _run_compiled() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 220 * np.arange(22_050) / 22_050)
    for f0 in ("pyin", "yin", "zcr"):
        Librosa33("compiled", Librosa33Params(f0=f0), MediaLimits()).features(tone.astype(np.float32))


def compile_once(run: Callable[[], object] = _run_compiled) -> None:
    """Import librosa and `run` its compiled functions, once and alone; nothing where that was done before.

    Numba compiles parts of librosa when it is imported for the first time, and keeps them on disk. Where
    several processes do that at once, as the workers of a fresh installation would, the files can be broken
    for good, and every later clip ends in a segmentation fault. So it is done under a lock, and a mark says
    that it was done: for this installation, on this kind of CPU.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "msa-pipeline"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"msa-pipeline-{os.getuid()}"
        folder.mkdir(exist_ok=True)
    mark = folder / f"librosa-{_installation()}"
    if not mark.exists():
        with lock(mark.with_suffix(".lock")):
            if not mark.exists():
                run()
                mark.touch()


def _installation() -> str:
    """What the compiled files belong to."""
    spec = importlib.util.find_spec("librosa")  # finds without importing
    assert spec is not None and spec.origin is not None
    origin = os.path.realpath(spec.origin)  # one lock for all links to an environment
    file = Path(origin).stat()
    known = [f"{name} {version(name)}" for name in ("librosa", "llvmlite", "numba", "numpy")]
    known += [origin, str(file.st_ino), str(file.st_mtime_ns), os.environ.get("NUMBA_CACHE_DIR", "")]
    with suppress(OSError):
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        known += [line for line in cpu if line.startswith("model name")][:1]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _parselmouth() -> Any:
    """Praat as a library."""
    return import_extra(
        "parselmouth",
        f"f0: praat needs {PRAAT}",
        "pip install 'msa-pipeline[praat]', or choose f0: pyin",
    )


def _at_least(n_samples: int, y: np.ndarray) -> np.ndarray:
    """The waveform with zeros at its end where it is shorter than a filter: frames are padded so anyway."""
    return np.pad(y, (0, max(0, n_samples - len(y))))


def _tuning(spectrum: np.ndarray, rate: int) -> float:
    """How far the clip is off A440, in CQT bins: `librosa.estimate_tuning`, but 0 where nothing has pitch."""
    import librosa

    pitch, magnitude = librosa.piptrack(S=spectrum, sr=rate, n_fft=WINDOW)
    pitched = pitch > 0
    if not pitched.any():  # digital silence, or only hum below 150 Hz; librosa would warn
        return 0.0
    strong = pitched & (magnitude >= np.median(magnitude[pitched]))
    return float(librosa.pitch_tuning(pitch[strong], bins_per_octave=BINS_PER_OCTAVE))
