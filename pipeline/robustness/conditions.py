"""What is done to test clips, as a list: kinds, whom they hit, how much, and with which draw.

    gaussian, laplace, erase   steps are hit with probability r = .1 ... .7: noise, or hidden
    frames                     steps are dropped with probability r = .1 ... .9, as LNLN does
    blocks                     a stretch of one modality is dropped, at the start, in the middle, at the end
                               or anywhere: r = .1 ... .9 of its length
    subsets                    every subset of the modalities, the others missing as a whole
    shared                     each modality of each clip is missing with probability r = .1 ... .7, never all
    imbalanced                 the same, one modality with 2 r and the others with r / 2, r = .1 ... .5: as
                               many are missing as of `shared`, but one is fragile
    white ... freeze           recordings are spoilt and features made again: media/kinds.py has all of these

Rates of `shared` and `imbalanced` are of the draw, before the last modality of a clip is spared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.errors import ParamsError
from pipeline.core.vocabulary import MODALITIES
from pipeline.evaluation.robust_results import ALL, KINDS, NOISE, RECORDINGS, SUBSETS
from pipeline.params.explain import unknown
from pipeline.robustness.media.kinds import DRAWN, MEDIA, MEDIA_LEVELS, modality_of
from pipeline.robustness.streams import SEEDS

SITES = (ALL, *MODALITIES)
LETTERS = {"text": "T", "audio": "A", "visual": "V"}
POSITIONS = ("start", "middle", "end", "random")
LEVELS = {
    **dict.fromkeys(NOISE, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
    "frames": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "blocks": (0.1, 0.3, 0.5, 0.7, 0.9),
    "subsets": (1.0,),
    "shared": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    "imbalanced": (0.1, 0.2, 0.3, 0.4, 0.5),
}
SITED = (*NOISE, "frames")  # kinds that a site is chosen of
WHOLE = ("subsets", "shared", "imbalanced")  # kinds in which modalities are missing as a whole
WITH_CLEAN = ("frames",)  # kinds whose mean over the levels includes 0, as their authors take it
CLEAN = "clean"
PIECE: Final = "piece"  # unit of text
FRAGILE, STURDY = 2.0, 0.5  # shares of r


@dataclass(frozen=True)
class Condition:
    """One way to spoil the test clips; `clean` leaves them as they are.

    Attributes
    ----------
    kind : one of KINDS or MEDIA_LEVELS, or `clean`
    case : whom it hits: a site, of blocks a modality and a position (`audio start`), of subsets the letters
        of what is left (`TA`), of `imbalanced` the fragile modality, of media the modality
    level : r; of media see media/kinds.py
    draw : seed of what is drawn; 0 where nothing is
    """

    kind: str
    case: str
    level: float
    draw: int

    @property
    def hits(self) -> tuple[str, ...]:
        """Modalities that may be changed."""
        if self.kind == CLEAN:
            return ()
        if self.kind == "subsets":
            return tuple(name for name in MODALITIES if LETTERS[name] not in self.case)
        if self.kind == "imbalanced":
            return MODALITIES
        site = self.case.partition(" ")[0]
        return MODALITIES if site == ALL else (site,)

    def rates(self) -> dict[str, float]:
        """Of `shared` and `imbalanced`: probability that each modality is missing."""
        if self.kind == "shared":
            return dict.fromkeys(MODALITIES, self.level)
        return {name: self.level * (FRAGILE if name == self.case else STURDY) for name in MODALITIES}


UNTOUCHED = Condition(CLEAN, ALL, 0.0, 0)


def settings_of(
    kind: str, sites: Sequence[str], draws: Sequence[int], missing: str, text_unit: str
) -> dict[str, Any]:
    """What decides the conditions of a kind, and what they do."""
    undrawn = kind == "subsets" or (kind in MEDIA_LEVELS and kind not in DRAWN)
    found: dict[str, Any] = {} if undrawn else {"draws": [*draws]}
    found |= {"sites": [*sites]} if kind in SITED else {}
    found |= {"text_unit": text_unit} if text_unit != PIECE and kind in (*SITED, "blocks") else {}
    return found | ({"missing": missing} if kind in WHOLE else {})


def chosen_kinds(names: Sequence[str]) -> tuple[str, ...]:
    """Kinds of these names, in their own order; ParamsError names an unknown one.

    `all` stands for KINDS, `media` for those of media.
    """
    known = (ALL, *KINDS, MEDIA, *RECORDINGS)
    for name in names:
        if name not in known:
            raise ParamsError(unknown("kind of corruption", name, known))
    groups = ((ALL, KINDS), (MEDIA, RECORDINGS))
    return tuple(kind for group, kinds in groups for kind in kinds if kind in names or group in names)


def chosen_sites(names: Sequence[str]) -> tuple[str, ...]:
    """Sites of these names, each once; ParamsError names an unknown one."""
    for name in names:
        if name not in SITES:
            raise ParamsError(unknown("site", name, SITES))
    return tuple(dict.fromkeys(names))


def conditions(kind: str, sites: Sequence[str] = (ALL,), draws: Sequence[int] = SEEDS) -> list[Condition]:
    """Those of a kind, clean not among them.

    Parameters
    ----------
    sites : whom noise and dropped frames hit
    draws : seeds of what is drawn
    """
    if kind == "subsets":
        return [Condition(kind, case, 1.0, 0) for case in SUBSETS]
    if kind in MEDIA_LEVELS:
        chosen, case = draws if kind in DRAWN else (0,), modality_of(kind)
        return [Condition(kind, case, level, draw) for draw in chosen for level in MEDIA_LEVELS[kind]]
    cases: Sequence[str] = {"shared": (ALL,), "imbalanced": MODALITIES}.get(kind, sites)
    if kind == "blocks":
        cases = [f"{name} {position}" for name in MODALITIES for position in POSITIONS]
    return [
        Condition(kind, case, level, draw)
        for case in cases
        for draw in (draws if "random" in case or kind != "blocks" else (0,))
        for level in LEVELS[kind]
    ]
