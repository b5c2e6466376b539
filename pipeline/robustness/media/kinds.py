"""Corruptions of recordings by name, each at a few levels.

white     white noise            signal-to-noise ratio 20 ... -5 dB, of the powers of the whole clip
babble    six voices at once     the same; of train clips, each of another video
mute      a span of silence      25, 50, 100 % of the clip
blur      Gaussian               σ = 2, 4, 8, 16 pixels in a picture of 480 lines
lowres    low resolution         2, 4, 8, 16 times fewer lines and columns
occlude   a black rectangle      10, 25, 50 % of the face's box, at some place of it, moving with it
eyes      a black band           rows 20-50 % of the face's box
mouth     a black band           rows 60-95 % of it
freeze    a picture that stands  for 25, 50 % of the clip
"""

from __future__ import annotations

MEDIA = "media"  # all of them
BABBLE = "babble"
SNR_DB = (20.0, 15.0, 10.0, 5.0, 0.0, -5.0)
SOUND = {"white": SNR_DB, "babble": SNR_DB, "mute": (0.25, 0.5, 1.0)}
PICTURES = {
    "blur": (2.0, 4.0, 8.0, 16.0),
    "lowres": (2.0, 4.0, 8.0, 16.0),
    "occlude": (0.1, 0.25, 0.5),
    "eyes": (1.0,),
    "mouth": (1.0,),
    "freeze": (0.25, 0.5),
}
MEDIA_LEVELS: dict[str, tuple[float, ...]] = (
    SOUND | PICTURES
)  # from mild to severe; the clean clip is before them all
OF_FACES = ("occlude", "eyes", "mouth")
DRAWN = ("white", "babble", "mute", "occlude", "freeze")  # kinds in which chance decides something


def modality_of(kind: str) -> str:
    """The modality whose features a kind changes."""
    return "audio" if kind in SOUND else "visual"
