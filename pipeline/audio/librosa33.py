"""Log F0, 20 MFCC and 12 chroma: 33 columns on one frame grid.

waveform ─▶ pyin ─▶ f0_log │ STFT ─▶ mel (HTK) ─▶ mfcc_0..19 │ CQT ─▶ chroma_0..11

Frame k is centred on sample k * hop_length; n samples give 1 + n // hop_length frames (the waveform is padded
with zeros at both ends). Defaults: 22,050 Hz, hop 512, i.e. 43.07 frames a second, as in the released CH-SIMS
features, whose extractor is librosa as well.

  f0_log   natural log of the fundamental frequency in Hz by pYIN (Mauch & Dixon 2014); 0 where unvoiced
  mfcc_i   `librosa.feature.mfcc(n_mfcc=20, htk=True)`: DCT-II of the log power of 128 HTK mel bands
  chroma_i `librosa.feature.chroma_cqt()`: energy of pitch class i (0 = C, 9 = A), the largest of a frame is 1

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

import numpy as np

from pipeline.encoder_params import Librosa33 as Librosa33Params
from pipeline.encoders import Clip, Encoded, Encoder
from pipeline.errors import AbsentError, ClipError, ParamsError
from pipeline.media import waveform
from pipeline.params import MediaLimits

N_MFCC = 20
N_CHROMA = 12
PITCH_BINS = 10  # per semitone: 10 cents
PITCH_SPEED = 35.92  # octaves a second that the pitch may change by (pyin's default)
WINDOW = 2048  # samples of the STFT and of pyin's frames
BINS_PER_OCTAVE = 36  # of the CQT, seven octaves from C1
CQT_SECONDS = 3.2  # its longest filter: C1, 1.6 s, up to the next power of two
CQT_TOP_HZ = 4_500.0  # the CQT's highest filter (C8 with its bandwidth and tuning) ends below this
SILENCE_DBFS = -60.0  # a clip with less RMS than this is noted as silent


class Librosa33(Encoder):
    """Prosody (F0), timbre (MFCC) and harmony (chroma) with librosa.

    Raises
    ------
    ParamsError : sample rate and pitch range do not fit each other or the window
    """

    modality = "audio"
    VERSION = 1
    LIBRARIES = ("av", "librosa", "numpy", "scipy", "soxr")

    params: Librosa33Params

    def __init__(self, name: str, params: Librosa33Params, limits: MediaLimits, device: str = "cpu"):
        super().__init__(name, params, limits, device)
        key = f"audio.{name}"
        if params.sample_rate < 2 * CQT_TOP_HZ:
            raise ParamsError(
                f"{key}.sample_rate is {params.sample_rate}; chroma reaches up to {CQT_TOP_HZ:g} Hz, "
                f"so at least {2 * CQT_TOP_HZ:g} are needed"
            )
        lowest = 2 * params.sample_rate / WINDOW
        if not lowest < params.f0_min < params.f0_max < params.sample_rate / 2:
            raise ParamsError(
                f"{key}.f0_min is {params.f0_min:g} and f0_max {params.f0_max:g}; at {params.sample_rate} Hz "
                f"expected {lowest:.1f} (two periods in {WINDOW} samples) < f0_min < f0_max < "
                f"{params.sample_rate / 2:g}"
            )
        reach = round(PITCH_SPEED * 12 * params.hop_length / params.sample_rate)
        semitones = 12 * np.log2(params.f0_max / params.f0_min)
        if reach > semitones:
            raise ParamsError(
                f"{key}.hop_length is {params.hop_length}: from frame to frame the pitch could change by "
                f"{reach} semitones, but f0_min..f0_max span {semitones:.1f}; take a shorter hop"
            )

    @property
    def dim(self) -> int:
        return 1 + N_MFCC + N_CHROMA

    @property
    def column_names(self) -> list[str]:
        return ["f0_log", *(f"mfcc_{i}" for i in range(N_MFCC)), *(f"chroma_{i}" for i in range(N_CHROMA))]

    @property
    def frame_rate(self) -> float:
        return self.params.sample_rate / self.params.hop_length

    def load(self) -> None:
        """There are no weights; librosa's import takes seconds, so it is done here."""
        import librosa  # noqa: F401

    def encode(self, clip: Clip) -> Encoded:
        """Features of the clip's sound; a silent clip is a good row with a note.

        Raises
        ------
        AbsentError : no media file, or no audio track in it
        ClipError : cannot be decoded, or shorter than one hop
        """
        if clip.path is None:
            raise AbsentError(f"{clip.clip_id}: no media file")
        notes: list[str] = []
        y = waveform(
            clip.path,
            self.limits,
            sample_rate=self.params.sample_rate,
            start_s=clip.start_s,
            end_s=clip.end_s,
            notes=notes,
        )
        level = 20 * np.log10(max(float(np.sqrt(np.mean(np.square(y, dtype=np.float64)))), 1e-10))
        if level < SILENCE_DBFS:
            notes.append(f"silent (RMS {level:.0f} dBFS, below {SILENCE_DBFS:.0f})")
        features = self.features(y)
        times = np.arange(len(features)) * (self.params.hop_length / self.params.sample_rate)
        return Encoded(features, times.astype(np.float32), "; ".join(notes))

    def features(self, y: np.ndarray) -> np.ndarray:
        """Features of a waveform.

        Parameters
        ----------
        y : shape (n_samples,), float32 in [-1, 1], at `params.sample_rate`

        Returns
        -------
        shape (1 + n_samples // hop_length, 33), float32, finite

        Raises
        ------
        ClipError : fewer samples than one hop
        """
        import librosa

        rate, hop = self.params.sample_rate, self.params.hop_length
        if len(y) < hop:
            raise ClipError(f"{len(y)} samples of sound at {rate} Hz are less than one frame ({hop} samples)")
        n_frames = 1 + len(y) // hop

        f0, voiced, _ = librosa.pyin(
            y,
            fmin=self.params.f0_min,
            fmax=self.params.f0_max,
            sr=rate,
            frame_length=WINDOW,
            hop_length=hop,
            resolution=1 / PITCH_BINS,
            max_transition_rate=PITCH_SPEED,
        )
        lowest = self.params.f0_min * 2 ** (0.5 / (12 * PITCH_BINS))  # upper edge of the first bin, Hz
        spectrum = np.abs(librosa.stft(_at_least(WINDOW, y), n_fft=WINDOW, hop_length=hop))  # (1025, frames)
        mel = librosa.feature.melspectrogram(S=spectrum**2, sr=rate, n_fft=WINDOW, htk=True)
        columns = [
            np.log(np.where(voiced & (f0 > lowest), f0, 1.0))[None],
            librosa.feature.mfcc(S=librosa.power_to_db(mel), sr=rate, n_mfcc=N_MFCC),
            librosa.feature.chroma_cqt(
                y=_at_least(int(CQT_SECONDS * rate), y),
                sr=rate,
                hop_length=hop,
                tuning=_tuning(spectrum, rate),
            ),
        ]
        return np.concatenate([rows[:, :n_frames] for rows in columns]).T.astype(np.float32, order="C")


def _at_least(n_samples: int, y: np.ndarray) -> np.ndarray:
    """The waveform with zeros at its end where it is shorter than a filter: frames are padded so anyway."""
    return np.pad(y, (0, max(0, n_samples - len(y))))


def _tuning(spectrum: np.ndarray, rate: int) -> float:
    """How far the clip is off A440, in CQT bins: `librosa.estimate_tuning`, but 0 where nothing has pitch."""
    import librosa

    pitch, magnitude = librosa.piptrack(S=spectrum, sr=rate, n_fft=WINDOW)
    heard = pitch > 0
    if not heard.any():  # digital silence, or only hum below 150 Hz; librosa would warn
        return 0.0
    strong = heard & (magnitude >= np.median(magnitude[heard]))
    return float(librosa.pitch_tuning(pitch[strong], bins_per_octave=BINS_PER_OCTAVE))
