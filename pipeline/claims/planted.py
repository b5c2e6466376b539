"""Planted corpora: features of clips, and the factors that they were made of.

    s    sentiment, |N(0, 1)| with a sign that is + in a share `positive` of the clips; label 3 tanh(s / 2)
    s_m  what modality m shows of it: s, or -s where m is the one that contradicts, the voice or the face of a
         share `conflict` of the clips
    r_m  = s_m + `noise`_m N(0, 1), once a clip
    p_m  PRIVATE numbers of m alone, N(0, 1), once a clip: who speaks, how the picture is lit
    c    a cue that voice and face show: N(0, 1), correlated by ρ with the sentiment, ρ that of the clip's
         environment. No method is told the environment
    g    the clip's sub-population; each shows the sentiment in a direction of its own, d_mh, N(0, 1), are
         what the directions of the others show meanwhile

    x_m[t] = a_m[g] r_m + Σ_{h ≠ g} a_m[h] d_mh + o_m[g] + B_m p_m + u_m c + FRAME_NOISE N(0, 1)

The directions a_m, o_m, u_m and the columns of B_m are orthonormal, drawn once for a seed. All draws of a
seed and a split are the same whatever the other settings are: corpora that differ in one setting differ in
nothing else, and the first clips of a larger corpus are the clips of a smaller one.

Symbols: C clips, T steps of a clip, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.files import json_hash, replaced_folder, write_json
from pipeline.core.vocabulary import ASSEMBLED_FORMAT, CLASSES, LABELS, MODALITIES, SEPARATOR, SPLITS

WIDTHS = {"text": 16, "audio": 12, "visual": 12}  # D
STEPS = (3, 6)  # fewest and most of a clip
PRIVATE = 2  # numbers of p_m
GROUPS = 3  # sub-populations at most
FRAME_NOISE = 0.5
CUED = ("audio", "visual")  # modalities that show the cue, and of which one may contradict
CLIPS_OF_A_VIDEO = 4
DATASET = "planted"


@dataclass(frozen=True)
class Planted:
    """The settings of a corpus.

    Attributes
    ----------
    positive : share of clips with a positive sentiment; ½ is balance
    conflict : share of clips in which voice or face shows the opposite of the sentiment
    noise : of each modality, standard deviation of what it adds to the sentiment
    rho : correlation of cue and sentiment, in each environment; clips are spread evenly over these
    groups : sub-populations, 1 to GROUPS
    own_labels : each modality has its own label, 3 tanh(s_m / 2), as CH-SIMS has
    """

    seed: int
    positive: float = 0.6
    conflict: float = 0.0
    noise: tuple[float, float, float] = (0.6, 0.8, 0.8)
    rho: tuple[float, ...] = (0.0,)
    groups: int = 1
    own_labels: bool = False

    def directions(self) -> dict[str, np.ndarray]:
        """Of each modality (D, 2 GROUPS + PRIVATE + 1) orthonormal columns: a of each group, o, B and u."""
        rng = np.random.default_rng([self.seed, len(SPLITS)])
        columns = 2 * GROUPS + PRIVATE + 1
        return {m: np.linalg.qr(rng.normal(size=(width, columns)))[0] for m, width in WIDTHS.items()}

    def clips(self, split: str, number: int) -> PlantedClips:
        """The first clips of a split."""
        most = max(number, 1)
        streams = np.random.default_rng([self.seed, SPLITS.index(split)]).spawn(8)
        sign, size, contrary, cue, group, private, lengths, noise = streams
        positive = sign.uniform(size=most) < self.positive
        s = np.abs(size.normal(size=most)) * np.where(positive, 1, -1)
        drawn = contrary.uniform(size=(most, 2))
        contradicting = np.where(drawn[:, 0] < self.conflict, (drawn[:, 1] * len(CUED)).astype(int), -1)
        e = np.arange(most) % len(self.rho)
        rho = np.array(self.rho)[e]
        mean = (2 * self.positive - 1) * np.sqrt(2 / np.pi)
        standard = (s - mean) / np.sqrt(1 - mean**2)
        c = rho * standard + np.sqrt(1 - rho**2) * cue.normal(size=most)
        g = (group.uniform(size=most) * self.groups).astype(int)
        factors = {"sentiment": s, "cue": c, "environment": e, "group": g, "contradicting": contradicting}
        features = {}
        everyone = np.arange(most)
        for place, (modality, columns) in enumerate(self.directions().items()):
            shown = s.copy()
            if modality in CUED:
                shown[contradicting == CUED.index(modality)] *= -1
            own = private.spawn(1)[0].normal(size=(most, 1 + PRIVATE + GROUPS))
            read = shown + self.noise[place] * own[:, 0]
            weights = np.zeros((most, columns.shape[1]))
            if self.groups > 1:
                weights[:, : self.groups] = own[:, 1 + PRIVATE :][:, : self.groups]
                weights[everyone, GROUPS + g] = 1
            weights[everyone, g] = read
            weights[:, 2 * GROUPS : 2 * GROUPS + PRIVATE] = own[:, 1 : 1 + PRIVATE]
            weights[:, -1] = c * (modality in CUED)
            length = lengths.spawn(1)[0].integers(*STEPS, size=most, endpoint=True)
            frames = noise.spawn(1)[0].normal(size=(most, STEPS[1], len(columns)))
            features[modality] = (weights @ columns.T)[:, None] + FRAME_NOISE * frames
            factors |= {f"shown_{modality}": shown, f"steps_{modality}": length}
            factors |= {f"private_{modality}": own[:, 1 : 1 + PRIVATE]}
        whole = PlantedClips(self, split, factors, features)
        return whole if number else whole.first(0)


@dataclass(frozen=True)
class PlantedClips:
    """Clips of one split, and their factors.

    Attributes
    ----------
    factors : (C,) each of sentiment, cue, environment, group, contradicting (place in CUED, -1 = none),
        shown_<m>, steps_<m>; (C, PRIVATE) private_<m>
    features : of each modality (C, most steps, D); steps_<m> of them are real
    """

    planted: Planted
    split: str
    factors: dict[str, np.ndarray]
    features: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.factors["sentiment"])

    def first(self, number: int) -> PlantedClips:
        """The first clips."""
        return PlantedClips(
            self.planted,
            self.split,
            {name: values[:number] for name, values in self.factors.items()},
            {name: values[:number] for name, values in self.features.items()},
        )

    @property
    def label(self) -> np.ndarray:
        """(C,) in (-3, 3)."""
        return score(self.factors["sentiment"])

    def mean(self, modality: str) -> np.ndarray:
        """(C, D) of the real steps."""
        real = np.arange(STEPS[1]) < self.factors[f"steps_{modality}"][:, None]
        kept = np.where(real[..., None], self.features[modality], 0.0)
        return kept.sum(axis=1) / real.sum(axis=1, keepdims=True)

    def best_prediction(self) -> np.ndarray:
        """(C,) the median of the label given all that is planted but the cue: no invariant error is lower.

        It knows the directions, the noise, the group and how often there is a conflict; the posterior of s
        is summed on a grid.
        """
        grid = np.linspace(-5, 5, 801)
        planted, g = self.planted, self.factors["group"]
        prior = np.where(grid > 0, planted.positive, 1 - planted.positive) * np.exp(-(grid**2) / 2)
        same: dict[str, np.ndarray] = {}
        opposite: dict[str, np.ndarray] = {}
        for place, (modality, columns) in enumerate(planted.directions().items()):
            read = (self.mean(modality) * columns[:, g].T).sum(axis=1)
            variance = planted.noise[place] ** 2 + FRAME_NOISE**2 / self.factors[f"steps_{modality}"]
            for found, sign in ((same, 1), (opposite, -1)):
                gaps = (read[:, None] - sign * grid) ** 2
                found[modality] = np.exp(-gaps / (2 * variance[:, None]))
        agreeing = (1 - planted.conflict) * same["audio"] * same["visual"]
        contrary = opposite["audio"] * same["visual"] + same["audio"] * opposite["visual"]
        posterior = prior * same["text"] * (agreeing + planted.conflict / 2 * contrary)
        below = posterior.cumsum(axis=1) / posterior.sum(axis=1, keepdims=True)
        return score(grid[(below < 0.5).sum(axis=1)])


def score(sentiment: np.ndarray) -> np.ndarray:
    """3 tanh(s / 2), the label of a sentiment."""
    return 3 * np.tanh(sentiment / 2)


def write_planted(folder: Path, splits: Mapping[str, PlantedClips]) -> Path:
    """An assembled set of these splits; those that are not given have no clip."""
    planted = next(iter(splits.values())).planted
    with replaced_folder(folder) as made:
        for name in SPLITS:
            clips = splits[name] if name in splits else planted.clips(name, 0)
            pq.write_table(_table(clips), made / f"{name}.parquet")
        stats = {
            "format": ASSEMBLED_FORMAT,
            "dataset": DATASET,
            "task": "regression",
            "class_names": [],
            "label_range": [-3, 3],
            "feature_set": json_hash(asdict(planted)),
            "modalities": {
                m: {"encoder": DATASET, "dim": width, "max_steps": STEPS[1]} for m, width in WIDTHS.items()
            },
        }
        write_json(stats, made / "stats.json")
    return folder


def _table(clips: PlantedClips) -> pa.Table:
    """A split as assembled sets have it, sorted by clip id."""
    number, split = len(clips), clips.split
    names = [f"{split}_{row // CLIPS_OF_A_VIDEO:05d}{SEPARATOR}{row:05d}" for row in range(number)]
    columns: dict[str, Any] = {
        "clip_id": pa.array(names, pa.string()),
        "video_id": pa.array([name.partition(SEPARATOR)[0] for name in names], pa.string()),
        "position": pa.array([row % CLIPS_OF_A_VIDEO for row in range(number)], pa.int32()),
        "transcript": pa.nulls(number, pa.string()),
    }
    for modality in MODALITIES:
        lengths = clips.factors[f"steps_{modality}"]
        real = np.arange(STEPS[1]) < lengths[:, None]
        flat = clips.features[modality][real].astype(np.float32)
        starts = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
        steps = pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), WIDTHS[modality])
        columns[modality] = pa.ListArray.from_arrays(pa.array(starts), steps)
        columns[f"{modality}_present"] = np.ones(number, bool)
    columns["label"] = clips.label.astype(np.float32)
    for modality in MODALITIES:
        own = score(clips.factors[f"shown_{modality}"]).astype(np.float32)
        columns[f"label_{modality}"] = own if clips.planted.own_labels else pa.nulls(number, pa.float32())
    for name in CLASSES:
        columns[name] = pa.nulls(number, pa.int32())
    assert set(LABELS) <= set(columns)
    return pa.table(columns)
