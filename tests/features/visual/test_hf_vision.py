"""States of vision transformers against transformers' own models and processors; frames, faces, videos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made.media_factory import make_clip, tone
from made.tiny_models import save_tiny_bert
from made.tiny_vision import FRAMES, KINDS, SIZE, save_tiny_vision
from transformers import AutoImageProcessor, AutoModel, CLIPVisionModel

from pipeline.core.errors import AbsentError, FormatError, MissingModelError, ParamsError
from pipeline.features.encoder import Clip, Encoded
from pipeline.features.registry import build_encoder
from pipeline.features.rows import EncodingTask, encode_row, footer
from pipeline.features.visual.hf_vision import VisionStates
from pipeline.features.visual.preprocessing import Preprocessing
from pipeline.media.decode import frames
from pipeline.params.encoders import FaceCropsParams, TransformerVision
from pipeline.params.params import MediaLimits

pytestmark = pytest.mark.filterwarnings("ignore:SymbolDatabase.GetPrototype")

LIMITS = MediaLimits()
PICTURES = [kind for kind in KINDS if kind != "videomae"]
WITHOUT_CLS = ("siglip", "videomae")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vision")
    return {kind: save_tiny_vision(root / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Ten frames of 64 x 48, all different, 0.2 s apart."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    return Clip("clip", make_clip(path, times=[i / 5 for i in range(10)]))


@pytest.fixture(scope="module")
def talker(project: Path) -> Clip:
    """Half a second of a face."""
    return Clip("talker", min((project / "data/sample/Raw").rglob("*.mp4")), end_s=0.5)


def built(folder: Path, **options: Any) -> VisionStates:
    kind = folder.name
    options = {
        "picture": "frame",
        "tokens": "patches" if kind in WITHOUT_CLS else "cls",
        "fps": None,
        **options,
    }
    encoder = build_encoder("visual", "mine", TransformerVision(model=str(folder), **options), LIMITS)
    assert isinstance(encoder, VisionStates)
    encoder.load()
    return encoder


def by_hand(folder: Path, images: list[np.ndarray]) -> list[np.ndarray]:
    """All states of pictures, or of one video of them, each (n, tokens, D), by transformers alone."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model_class = CLIPVisionModel if folder.name == "clip" else AutoModel
    model = model_class.from_pretrained(folder).eval()
    given = [images] if folder.name == "videomae" else images
    with torch.inference_mode():
        pixels = processor(given, return_tensors="pt")["pixel_values"]
        output = model(pixels, output_hidden_states=True)
    return [state.numpy() for state in (*output.hidden_states[:-1], output.last_hidden_state)]


def images_of(clip: Clip) -> list[np.ndarray]:
    assert clip.path is not None
    return [frame.image for frame in frames(clip.path, LIMITS, end_s=clip.end_s)]


# ------------------------------------------------------------------------------------------- preprocessing
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("shape", [(48, 64), (97, 53), (32, 32), (360, 641)])
def test_pictures_are_those_of_transformers_processor(
    folders: dict[str, Path], kind: str, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1)
    numbers = json.loads((folders[kind] / "preprocessor_config.json").read_text())
    ours = Preprocessing.of(numbers, kind)
    expected = AutoImageProcessor.from_pretrained(folders[kind], backend="pil")(
        [[image]] if kind == "videomae" else image, return_tensors="np"
    )["pixel_values"].reshape(1, 3, SIZE, SIZE)
    assert ours.size == SIZE
    np.testing.assert_allclose(ours.scaled(ours.square(image)[None]), expected, atol=1e-5)


def test_older_files_and_those_that_say_too_little() -> None:
    colours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    clip = Preprocessing.of(
        {"size": 40, "crop_size": 32, "do_center_crop": True, "resample": 3, **colours}, "m"
    )
    assert (clip.resized, clip.size, clip.resample) == (40, 32, 3)
    vit = Preprocessing.of({"size": 32, "do_center_crop": False, **colours}, "m")
    assert (vit.resized, vit.size) == ((32, 32), 32)
    assert Preprocessing.of({"size": 32, "do_rescale": False, **colours}, "m").factor == 1
    for numbers, said in (
        ({"size": 32}, "'image_mean' is missing"),
        (
            {"size": {"height": 32, "width": 16}, "do_center_crop": False, **colours},
            r"\(32, 16\), expected squares",
        ),
        ({"size": float("inf"), **colours}, "infinity"),
        ({"size": [32], **colours}, "list"),
        ({"size": {"longest_edge": 32}, **colours}, "'height' is missing"),
        ({"size": {"shortest_edge": 32}, "do_center_crop": False, **colours}, "expected squares"),
    ):
        with pytest.raises(FormatError, match=f"model 'm': .*{said}"):
            Preprocessing.of(numbers, "m")


# ---------------------------------------------------------------------------------------------- whole frames
@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("tokens", ["cls", "patches"])
def test_a_row_a_frame(folders: dict[str, Path], clip: Clip, kind: str, tokens: str) -> None:
    if tokens == "cls" and kind in WITHOUT_CLS:
        with pytest.raises(
            ParamsError, match=r"visual\.mine\.tokens is cls, but .* no class token; set tokens"
        ):
            built(folders[kind], tokens=tokens)
        return
    states = by_hand(folders[kind], images_of(clip))[-1]
    special = 0 if kind in WITHOUT_CLS else 1
    assert states.shape == (10, special + 16, 16)
    expected = states[:, 0] if tokens == "cls" else states[:, special:].mean(axis=1)
    encoder = built(folders[kind], tokens=tokens)
    found = encoder.encode(clip)
    assert found.features.shape == (10, encoder.dim) and found.features.dtype == np.float16
    np.testing.assert_allclose(found.features, expected, rtol=2e-3, atol=2e-3)
    assert len(np.unique(found.features, axis=0)) >= 5, "the frames are told apart"
    np.testing.assert_allclose(found.times, np.arange(10) / 5, atol=1e-3)
    assert encoder.column_names == [f"h_{i}" for i in range(16)] and found.note == ""


def test_layers_and_rate(folders: dict[str, Path], clip: Clip) -> None:
    states = by_hand(folders["vit"], images_of(clip))
    found = built(folders["vit"], layers=[0, -2]).encode(clip)
    expected = (states[0][:, 0].astype(np.float64) + states[1][:, 0]) / 2
    np.testing.assert_allclose(found.features, expected, rtol=2e-3, atol=2e-3)
    encoder = built(folders["vit"], fps=2.5)
    assert encoder.frame_rate == 2.5 and len(encoder.encode(clip).features) == 5


def test_one_frame_no_video_and_no_file(folders: dict[str, Path], tmp_path: Path) -> None:
    one = Clip("one", make_clip(tmp_path / "one.mkv", times=[0.0]))
    heard = Clip(
        "heard", make_clip(tmp_path / "heard.wav", sound=tone(300, 0.5, 16_000), audio_codec="pcm_s16le")
    )
    for picture in ("frame", "face"):
        for kind in ("vit", "videomae"):
            encoder = built(folders[kind], picture=picture)
            assert len(encoder.encode(one).features) == 1
            for clip in (heard, Clip("text only")):
                with pytest.raises(AbsentError):
                    encoder.encode(clip)
        assert encode_row(encoder, EncodingTask(heard, "s")).status == "absent"


# ---------------------------------------------------------------------------------------------------- videos
def test_a_row_for_some_frames_of_a_video(folders: dict[str, Path], clip: Clip) -> None:
    """Ten frames in fours: 0-3, 4-7, and 6-9, which end with the clip."""
    images = images_of(clip)
    encoder = built(folders["videomae"])
    found = encoder.encode(clip)
    groups = [images[at : at + FRAMES] for at in (0, 4, 6)]
    expected = [by_hand(folders["videomae"], group)[-1][0].mean(axis=0) for group in groups]
    np.testing.assert_allclose(found.features, np.stack(expected), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(found.times, [0.3, 1.1, 1.5], atol=1e-3)
    assert encoder.frame_rate is None
    short = Clip("short", clip.path, end_s=0.5)
    repeated = [images[i] for i in (0, 1, 1, 2)]  # three frames, evenly
    expected = [by_hand(folders["videomae"], repeated)[-1][0].mean(axis=0)]
    np.testing.assert_allclose(encoder.encode(short).features, np.stack(expected), rtol=2e-3, atol=2e-3)
    pooled = build_encoder(
        "visual",
        "mine",
        encoder.params.model_copy(update={"pool": "mean"}),
        LIMITS,
    )
    pooled.load()
    mean = found.features.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(pooled.encode(clip).features[0], mean, rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------------------------------------- faces
def test_faces_are_those_of_facecrops(folders: dict[str, Path], talker: Clip) -> None:
    crops = build_encoder("visual", "crops", FaceCropsParams(size=SIZE), LIMITS)
    crops.load()
    faces = crops.encode(talker)
    images = list(faces.features.reshape(-1, SIZE, SIZE, 3))
    encoder = built(folders["vit"], picture="face")
    found = encoder.encode(talker)
    assert encoder.column_names[:2] == ["success", "h_0"] and encoder.dim == 17
    assert found.features[:, 0].all() and len(images) > 5
    expected = by_hand(folders["vit"], images)[-1][:, 0]
    np.testing.assert_allclose(found.features[:, 1:], expected, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(found.times, faces.times)
    # dinov2's own preprocessing would cut the margin of a face off
    numbers = json.loads((folders["dinov2"] / "preprocessor_config.json").read_text())
    assert numbers["size"] != numbers["crop_size"]
    pixels = Preprocessing.of(numbers, "m").scaled(np.stack(images))
    with torch.inference_mode():
        seen = AutoModel.from_pretrained(folders["dinov2"]).eval()(torch.from_numpy(pixels)).last_hidden_state
    found = built(folders["dinov2"], picture="face").encode(talker)
    np.testing.assert_allclose(found.features[:, 1:], seen[:, 0].numpy(), rtol=2e-3, atol=2e-3)


def test_frames_without_a_face(
    folders: dict[str, Path], talker: Clip, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = built(folders["vit"], picture="face")
    none = encoder.encode(clip)
    assert none.features.shape == (10, 17) and not none.features.any()
    assert none.note == "no face in any of 10 frames"
    video = built(folders["videomae"], picture="face")
    none = video.encode(clip)
    assert none.features.shape == (1, 17) and not none.features.any()
    assert none.times.tolist() == pytest.approx([0.9])

    crops = encoder._faces.encode(talker)
    crops.features[[1, 3]] = 0  # as facecrops gives frames without a face
    for one in (encoder, video):
        monkeypatch.setattr(one._faces, "encode", lambda _: crops)
    seen = np.array([0, 2, *range(4, len(crops.features))])
    images = list(crops.features.reshape(-1, SIZE, SIZE, 3)[seen])
    some = encoder.encode(talker)
    np.testing.assert_array_equal(np.flatnonzero(some.features[:, 0]), seen)
    assert not some.features[[1, 3]].any()
    np.testing.assert_allclose(
        some.features[seen, 1:], by_hand(folders["vit"], images)[-1][:, 0], rtol=2e-3, atol=2e-3
    )
    together = video.encode(talker)
    assert together.features[:, 0].all()
    expected = by_hand(folders["videomae"], images[:FRAMES])[-1][0].mean(axis=0)
    np.testing.assert_allclose(together.features[0, 1:], expected, rtol=2e-3, atol=2e-3)
    assert together.times[0] == pytest.approx(crops.times[seen[:FRAMES]].mean(), abs=1e-4)


# ----------------------------------------------------------------------------------------- bytes and identity
@pytest.mark.parametrize("kind", ["vit", "videomae"])
def test_bytes_depend_on_the_clip_alone(folders: dict[str, Path], clip: Clip, kind: str) -> None:
    clips = [clip, Clip("b", clip.path, end_s=0.3), Clip("c", clip.path, start_s=0.7)]
    encoder = built(folders[kind])
    first = [encoder.encode(one).features.tobytes() for one in clips]
    together = encoder.infer([encoder.prepare(one) for one in clips])
    assert [one.features.tobytes() for one in together if isinstance(one, Encoded)] == first
    torch.set_num_threads(2)
    again = built(folders[kind])
    assert torch.get_num_threads() == 1
    assert [again.encode(one).features.tobytes() for one in clips[::-1]] == first[::-1]


def test_fingerprint(folders: dict[str, Path], tmp_path: Path) -> None:
    def encoder(folder: Path, **options: Any) -> VisionStates:
        options = {"picture": "frame", **options}
        return build_encoder("visual", "mine", TransformerVision(model=str(folder), **options), LIMITS)

    copied = Path(shutil.copytree(folders["vit"], tmp_path / "copy"))
    here = encoder(folders["vit"]).fingerprint
    assert encoder(copied).fingerprint == here
    for change in (
        {"picture": "face"},
        {"tokens": "patches"},
        {"fps": 3.0},
        {"layers": [0]},
        {"pool": "max"},
    ):
        assert encoder(copied, **change).fingerprint != here
    face = encoder(copied, picture="face")
    assert "mediapipe" in face.provenance["libraries"] and len(face.provenance["faces"]) == 64
    assert "mediapipe" not in encoder(copied).provenance["libraries"]
    numbers = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").write_text(json.dumps({**numbers, "image_mean": [0.4, 0.5, 0.5]}))
    assert encoder(copied).fingerprint != here
    assert footer(encoder(folders["vit"]))["column_names"][0] == "h_0"


# --------------------------------------------------------------------------------------------------- mistakes
def changed(folder: Path, to: Path, file: str, change: dict[str, Any]) -> Path:
    copy = Path(shutil.copytree(folder, to / folder.name))
    (copy / file).write_text(json.dumps(json.loads((copy / file).read_text()) | change))
    return copy


def test_a_model_that_wants_another_size(folders: dict[str, Path], tmp_path: Path) -> None:
    other = {"size": {"height": 40, "width": 40}}
    with pytest.raises(
        ParamsError, match=r"visual\.mine\.model: .* cannot read pictures of 40 x 40 pixels, as its"
    ):
        built(changed(folders["vit"], tmp_path, "preprocessor_config.json", other))
    large = changed(
        folders["siglip"], tmp_path, "preprocessor_config.json", {"size": {"height": 640, "width": 640}}
    )
    with pytest.raises(ParamsError, match=r"visual\.mine\.model\.size is 640: .*less than or equal to 512"):
        built(large, picture="face")


def test_checkpoints_that_will_not_do(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        ParamsError, match="is of type 'bert', expected a transformer over patches of pictures"
    ):
        built(save_tiny_bert(tmp_path / "bert"))
    from transformers import ResNetConfig, ResNetModel

    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])).save_pretrained(
        tmp_path / "resnet"
    )
    with pytest.raises(ParamsError, match="is of type 'resnet', expected"):
        built(tmp_path / "resnet")
    bare = Path(shutil.copytree(folders["vit"], tmp_path / "bare", ignore=shutil.ignore_patterns("prepro*")))
    with pytest.raises(
        MissingModelError, match=r"has no preprocessor_config\.json in .*bare, which says how"
    ):
        built(bare)
    with pytest.raises(ParamsError, match=r"visual\.mine\.layers has 3; .* 3 states: 0 to 2"):
        built(folders["vit"], layers=[3])
