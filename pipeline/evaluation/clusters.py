"""What clips hang together: clips of one speaker, or of one video, are no independent samples.

A speaker is heard, seen and mistaken alike in all clips, so that two methods differ there alike too.
Statistics therefore swap and leave out whole clusters of clips: the speakers or the videos, of those that
every clip has the coarser ones (two speakers of one scene hang together), else each clip for itself. One kind
holds for a whole test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import MsaError

FEWEST = 20  # clusters, below which neither intervals nor p values are to be trusted
SPEAKERS, VIDEOS, CLIPS = "speakers", "videos", "clips"
UNKNOWN = "no video or speaker known"


@dataclass(frozen=True)
class ClusterCount:
    """How many clusters there are, and of what kind.

    Attributes
    ----------
    kind : `speakers`, `videos` or `clips`
    count, clips : number of clusters, and of clips in them
    why : of `clips`, why each is alone
    """

    kind: str
    count: int
    clips: int
    why: str = ""

    @property
    def text(self) -> str:
        """`31 videos`; `clips: no video or speaker known`."""
        return f"{CLIPS}: {self.why}" if self.kind == CLIPS else _counted(self.count, self.kind)

    @property
    def text_with_clips(self) -> str:
        """`686 clips of 31 videos`; `686 clips: no video or speaker known`."""
        clips = _counted(self.clips, CLIPS)
        return f"{clips}: {self.why}" if self.kind == CLIPS else f"{clips} of {self.text}"

    @property
    def warning(self) -> str:
        """What a reader must know of few clusters; empty where there are enough."""
        if self.count >= FEWEST:
            return ""
        few = _counted(self.count, self.kind)
        return f"{few}: too few to trust intervals and p values, which need at least {FEWEST}"


@dataclass(frozen=True, eq=False)
class Clusters:
    """The cluster of each clip.

    Attributes
    ----------
    kind, why : see ClusterCount
    of_clip : (clips,) int, from 0 on, each number used
    """

    kind: str
    of_clip: np.ndarray
    why: str = ""

    @classmethod
    def alone(cls, clips: int, why: str = UNKNOWN) -> Clusters:
        """Each clip for itself."""
        return cls(CLIPS, np.arange(clips), why)

    @property
    def counted(self) -> ClusterCount:
        return ClusterCount(self.kind, int(self.of_clip.max(initial=-1)) + 1, len(self.of_clip), self.why)

    def take(self, chosen: np.ndarray) -> Clusters:
        """Those of some clips, (clips,) bool; of the same kind, where each clip is of another one too."""
        return Clusters(self.kind, np.unique(self.of_clip[chosen], return_inverse=True)[1], self.why)

    def sums(self, terms: np.ndarray) -> np.ndarray:
        """Terms of clips, (clips, ...), added up in each cluster, (clusters, ...)."""
        order = np.argsort(self.of_clip, kind="stable")
        starts = np.flatnonzero(np.diff(self.of_clip[order], prepend=-1))
        added: np.ndarray = np.add.reduceat(terms[order], starts, axis=0)
        return added


def clusters_of(speakers: Sequence[str | None], videos: Sequence[str | None]) -> Clusters:
    """The clusters of clips with these speakers and videos; None = not known.

    Raises
    ------
    MsaError : there are no clips
    """
    if not videos:
        raise MsaError("clusters: no clips; expected the speaker and video of at least one")
    known = {kind: names for kind, names in ((SPEAKERS, speakers), (VIDEOS, videos)) if None not in names}
    if not known:
        return Clusters.alone(len(videos))
    kind = min(known, key=lambda kind: len(set(known[kind])))
    names, of_clip = np.unique(np.array(known[kind]), return_inverse=True)
    if len(names) == len(of_clip):
        return Clusters.alone(len(of_clip), f"no {kind[:-1]} has two")
    return Clusters(kind, of_clip)


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind if count != 1 else kind[:-1]}"
