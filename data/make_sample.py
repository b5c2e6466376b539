"""The sample corpus: 96 short clips of a talking face, made from one picture and a speech synthesiser.

    python data/make_sample.py [--out DIR] [--clips N]

Writes `label.csv` and `Raw/<video_id>/<clip_id>.mp4` in the layout of CH-SIMS / MMSA, 24 videos of 4 clips.
Three sentiments are drawn for each clip, often at odds with each other, and each decides one modality:

    label_T  the sentence
    label_A  how it is spoken: pitch, pitch range, speed, loudness
    label_V  the face: corners of the mouth, brows
    label    1.15 (0.45 label_T + 0.25 label_A + 0.30 label_V) + noise

Nothing real is measured by it: it gives every step of the pipeline something to work on and to learn from.

Picture: `skimage.data.astronaut()`, NASA, public domain. Speech: synthesised by espeak-ng (GPL-3 program; its
output is not covered). Sentences: `sample/sentences.csv`, written for this corpus. The seed is fixed: with
the same library versions a rebuild gives the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import subprocess
import warnings
import wave
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from pathlib import Path

import av
import numpy as np
from mediapipe.python.solutions.face_mesh import FaceMesh
from rich.progress import track
from sample_face import HEIGHT, WIDTH, Actor, Look, Pose, Still
from threadpoolctl import threadpool_limits

SEED = 43  # of 60 tried, one whose valid and test labels are balanced
VIDEOS, CLIPS_A_VIDEO = 24, 4
# The split of videos 1, 2, ..., repeated: 16 train, 4 valid, 4 test.
MODES = ("train", "train", "valid", "train", "train", "test")
BANK = Path(__file__).parent / "sample" / "sentences.csv"  # each is spoken once
COLUMNS = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
# Strength of a sentence, dealt in this order: what 7 does not divide goes to the first ones.
GRADES = (-2, 2, -3, 3, -1, 1, 0)
WEIGHTS = {"T": 0.45, "A": 0.25, "V": 0.30}
STRETCH, NOISE = 1.15, 0.12  # the weighted mean of three sentiments is narrow: stretched, then blurred
LIMIT, STEP = 3.0, 0.2  # labels lie in [-3, 3] and are multiples of 0.2

FPS = 25
SAMPLE_RATE = 22_050  # Hz, what espeak-ng writes
SAMPLES_A_FRAME = SAMPLE_RATE // FPS  # 882
LEAD, TAIL = 3, 4  # frames of silence around the speech: 0.12 s, 0.16 s
SHORTEST, LONGEST = 38, 72  # frames: 1.52 s, 2.88 s
# asm=0: on a processor with AVX-512, x264's assembly gave other bytes from run to run, even in one thread.
VIDEO_OPTIONS = {"crf": "25", "preset": "slow", "tune": "stillimage", "x264-params": "asm=0"}
AUDIO_RATE = 32_000  # bit/s
FACE_RATE = 0.95  # share of a clip's frames in which FaceMesh must find the face

# espeak-ng voices and their mean pitch, Hz, at `-p 50`; measured pitch = base * exp(PITCH_SLOPE * (p - 50)).
VOICES = {"en-us+f1": 178, "en-us+m3": 102, "en-us+f4": 178, "en-us+m7": 101, "en-us": 99, "en-us+f3": 235}
VOICES |= {"en-gb-scotland+m2": 100, "en-us+f2": 196, "en-us+m1": 91, "en-gb-x-rp+f1": 178, "en-gb": 99}
PITCH_SLOPE = 0.0102
PITCH, PITCH_SPAN = 136.0, 5.0 / 12  # Hz at label_A = 0; octaves up to label_A = 3
LOUDNESS, LOUDNESS_SPAN = -24.0, 6.0  # dB of full scale at label_A = 0; dB up to label_A = 3
PEAK = 0.8  # of full scale: louder peaks are bent, which leaves AAC room to overshoot
SPEED, SPEED_SPAN = 178, 22  # words a minute at label_A = 0; more at label_A = 3


@dataclass(frozen=True)
class Clip:
    """One row of label.csv."""

    video: int  # 0 .. VIDEOS - 1
    number: int  # 0 .. CLIPS_A_VIDEO - 1
    mode: str
    text: str
    sentiment: dict[str, float]  # T, A, V
    label: float

    @property
    def video_id(self) -> str:
        return f"video_{self.video + 1:04d}"

    @property
    def clip_id(self) -> str:
        return f"{self.number + 1:04d}"


def on_scale(value: float) -> float:
    """The nearest label: within +-LIMIT, a multiple of STEP, never -0.0."""
    return round(round(min(max(value, -LIMIT), LIMIT) / STEP) * STEP, 1) + 0.0


def plan() -> list[Clip]:
    """All clips, ordered by video. Each sentence is used once; each split sees all grades equally often."""
    rng = np.random.default_rng(SEED)
    with BANK.open(encoding="utf-8") as file:
        sentences = list(csv.DictReader(file))
    texts = {grade: [row["text"] for row in sentences if int(row["grade"]) == grade] for grade in GRADES}
    bank = {grade: list(rng.permutation(texts[grade])) for grade in GRADES}
    slots = [(video, number) for video in range(VIDEOS) for number in range(CLIPS_A_VIDEO)]
    clips = {}
    for mode in ("train", "valid", "test"):
        own = [slot for slot in slots if MODES[slot[0] % len(MODES)] == mode]
        deck = rng.permutation(np.resize(GRADES, len(own)))
        for (video, number), grade in zip(own, deck, strict=True):
            text_mood = grade + rng.uniform(-0.4, 0.4)
            agree = rng.random() < 0.4  # voice and face go with the words; else each has a mood of its own
            sentiment = {"T": text_mood}
            for modality in ("A", "V"):
                sentiment[modality] = text_mood + rng.normal(0, 0.6) if agree else rng.uniform(-LIMIT, LIMIT)
            sentiment = {modality: on_scale(value) for modality, value in sentiment.items()}
            mean = sum(WEIGHTS[modality] * value for modality, value in sentiment.items())
            label = on_scale(STRETCH * mean + rng.normal(0, NOISE))
            clips[video, number] = Clip(video, number, mode, str(bank[grade].pop()), sentiment, label)
    return [clips[slot] for slot in slots]


def espeak(text: str, voice: str, pitch: int, speed: int, pitch_range: int) -> np.ndarray:
    """Synthesised speech, (samples,) in -1..1, without silence at its ends."""
    marked = f'<prosody range="{pitch_range}%">{escape(text, quote=False)}</prosody>'
    command = ["espeak-ng", "-m", "-z", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", marked]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        if file.getframerate() != SAMPLE_RATE:
            raise SystemExit(
                f"espeak-ng voice {voice} speaks at {file.getframerate()} Hz, expected {SAMPLE_RATE}"
            )
        # Written to a pipe, the header's length is a placeholder: read what is there.
        samples = np.frombuffer(file.readframes(60 * SAMPLE_RATE), np.int16) / 32768
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1] + 1]


def speak(clip: Clip, rng: np.random.Generator) -> np.ndarray:
    """The sound of a clip, (frames * SAMPLES_A_FRAME,) float32: label_A decides how the sentence is said."""
    mood = clip.sentiment["A"] / LIMIT
    voice, base = list(VOICES.items())[clip.video % len(VOICES)]
    hertz = PITCH * 2 ** (PITCH_SPAN * mood + rng.normal(0, 0.4 / 12))
    pitch = int(np.clip(50 + np.log(hertz / base) / PITCH_SLOPE, 0, 99))
    speed = round(SPEED + SPEED_SPAN * mood + rng.normal(0, 3))
    speech = espeak(clip.text, voice, pitch, speed, round(100 + 60 * mood))
    while len(speech) > (LONGEST - LEAD - TAIL) * SAMPLES_A_FRAME:
        speed += 8
        speech = espeak(clip.text, voice, pitch, speed, round(100 + 60 * mood))
    level = 10 ** ((LOUDNESS + LOUDNESS_SPAN * mood + rng.normal(0, 1.0)) / 20)
    speech = PEAK * np.tanh(speech * level / np.sqrt(np.mean(speech**2)) / PEAK)
    frames = max(SHORTEST, LEAD + TAIL + -(-len(speech) // SAMPLES_A_FRAME))
    sound = rng.normal(0, 10 ** (-62 / 20), frames * SAMPLES_A_FRAME)  # a quiet room
    start = LEAD * SAMPLES_A_FRAME
    sound[start : start + len(speech)] += speech
    return sound.astype(np.float32)


def look_of(video: int) -> Look:
    """How a video's speaker is filmed."""
    rng = np.random.default_rng([SEED, video])
    colours = rng.uniform(60, 190, (2, 1)) + rng.uniform(-40, 40, (2, 3))
    return Look(
        zoom=rng.uniform(1.05, 1.45),
        stretch=rng.uniform(0.94, 1.06),
        mirror=bool(video % 2),
        centre=np.array([225, 122]) + rng.uniform(-1, 1, 2) * (18, 8),
        gain=rng.uniform(0.8, 1.08) * rng.uniform(0.92, 1.08, 3),
        gamma=rng.uniform(0.8, 1.3),
        backdrop=video % 4,
        colours=colours,
    )


def act(clip: Clip, sound: np.ndarray, rng: np.random.Generator) -> list[Pose]:
    """A pose a frame: label_V decides smile and brows, the sound's loudness opens the mouth."""
    frames = len(sound) // SAMPLES_A_FRAME
    seconds = np.arange(frames) / FPS

    def drift(amount: float) -> np.ndarray:  # slow, smooth, (frames,), about -amount .. amount
        rate, phase = rng.uniform(0.2, 0.7, 3), rng.uniform(0, 2 * np.pi, 3)
        return amount * np.sin(2 * np.pi * rate * seconds[:, None] + phase).mean(1)

    loudness = np.sqrt((sound.reshape(frames, -1) ** 2).mean(1))
    opening = np.convolve(loudness / np.quantile(loudness, 0.9), (0.2, 0.6, 0.2), "same").clip(0, 1)
    grows = 0.75 + 0.25 * np.clip(seconds / 0.4, 0, 1)  # an expression takes 0.4 s to its full strength
    mood = (clip.sentiment["V"] / LIMIT + rng.normal(0, 0.05)) * grows
    smile, brows = mood + drift(0.08), 0.8 * mood + drift(0.08)
    yaw, pitch, roll = (
        rng.uniform(-5, 5) + drift(7),
        rng.uniform(-2, 2) + drift(5),
        rng.uniform(-2, 2) + drift(4),
    )
    sway = np.column_stack([drift(6), drift(3)])
    blink = 0.7 * np.exp(-(((seconds - rng.uniform(0.3, seconds[-1])) / 0.06) ** 2))
    return [
        Pose(
            smile[i],
            brows[i],
            1.5 * opening[i],
            blink[i],
            yaw[i],
            pitch[i],
            roll[i],
            (sway[i, 0], sway[i, 1]),
        )
        for i in range(frames)
    ]


def write(path: Path, frames: list[np.ndarray], sound: np.ndarray) -> None:
    """H.264 and AAC in mp4, without clock, encoder names or threads: the same input gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    muxing = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(path, "w", format="mp4", options=muxing) as container:
        video = container.add_stream("libx264", rate=FPS, options=VIDEO_OPTIONS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = AUDIO_RATE
        for stream in (video, audio):
            stream.codec_context.thread_count = 1
            stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for index, pixels in enumerate(frames):
            image = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            image.pts, image.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(image))
        container.mux(video.encode(None))
        samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(audio.encode(samples))
        container.mux(audio.encode(None))


def face_rate(path: Path, mesh: FaceMesh) -> float:
    """Share of a written clip's frames in which FaceMesh finds a face."""
    mesh.reset()  # nothing is tracked from one clip into the next
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return float(np.mean([mesh.process(frame).multi_face_landmarks is not None for frame in frames]))


def make(clip: Clip, actor: Actor, mesh: FaceMesh, out: Path) -> float:
    """Write one clip; its face rate."""
    rng = np.random.default_rng([SEED, clip.video, clip.number])
    sound = speak(clip, rng)
    path = out / "Raw" / clip.video_id / f"{clip.clip_id}.mp4"
    with threadpool_limits(1):  # the splines are small, and more threads may add in another order
        frames = [actor(pose) for pose in act(clip, sound, rng)]
    write(path, frames, sound)
    rate = face_rate(path, mesh)
    if rate < FACE_RATE:
        raise SystemExit(
            f"{path}: FaceMesh finds a face in {rate:.0%} of the frames, expected {FACE_RATE:.0%}"
        )
    return rate


def write_labels(path: Path, clips: list[Clip]) -> None:
    """label.csv; the annotation is the sign of the label."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for clip in clips:
            values = [clip.label, *(clip.sentiment[modality] for modality in "TAV")]
            annotation = ("Neutral", "Positive", "Negative")[int(np.sign(clip.label))]
            texts = [clip.video_id, clip.clip_id, clip.text]
            rows.writerow([*texts, *(f"{value:.1f}" for value in values), annotation, clip.mode])


def build(out: Path, count: int) -> None:
    """Make the first `count` clips and their label.csv in `out`."""
    if shutil.which("espeak-ng") is None:
        raise SystemExit(
            "espeak-ng is missing: it speaks the sentences of the sample clips.\n"
            "Debian, Ubuntu: apt-get install espeak-ng   Fedora: dnf install espeak-ng   "
            "macOS: brew install espeak-ng"
        )
    warnings.filterwarnings("ignore", message="SymbolDatabase")  # mediapipe's protobuf code, at every start
    out.mkdir(parents=True, exist_ok=True)
    clips, still = plan()[:count], Still()
    actors = {video: Actor(still, look_of(video)) for video in sorted({clip.video for clip in clips})}
    with FaceMesh(refine_landmarks=True) as mesh:
        rates = [make(clip, actors[clip.video], mesh, out) for clip in track(clips, description="clips")]
    write_labels(out / "label.csv", clips)
    size = sum(path.stat().st_size for path in out.rglob("*.mp4")) / 1e6
    print(f"{len(clips)} clips, {size:.2f} MB in {out}; frames with a face, worst clip: {min(rates):.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the sample corpus.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sample", help="folder to write")
    parser.add_argument("--clips", type=int, default=VIDEOS * CLIPS_A_VIDEO, help="only the first N")
    options = parser.parse_args()
    build(options.out, options.clips)


if __name__ == "__main__":
    main()
