"""py-feat as an encoder: weights, versions and imports that are missing, wrong or changed."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from pathlib import Path

import pytest
from made.pyfeat_package import OPENED_LATE, build, faces_by_frame, forget

from pipeline.core.errors import AbsentError, MissingDependencyError, MissingModelError, ParamsError
from pipeline.features.encoder import Clip


def test_only_the_asked_nets_are_loaded(feat: Path) -> None:
    package = importlib.import_module("feat")
    for groups in (["pose"], ["aus", "emotions"], ["gaze"]):
        build(groups=groups).load()
    nets = {"identity_model": None, "gaze_model": None, "emotion_model": None, "au_model": None}
    assert [
        ("Detectorv1", "cpu", nets),
        ("Detectorv1", "cpu", {**nets, "au_model": "xgb", "emotion_model": "resmasknet"}),
        ("Detectorv1", "cpu", {**nets, "gaze_model": "l2cs"}),
    ] == package.MADE


def test_identity_and_fingerprint(feat: Path) -> None:
    encoder = build(groups=["aus", "pose"])
    assert encoder.model_identity == (
        "py-feat/retinaface_r34@c1 py-feat/mobilefacenet@c2 py-feat/pose_mlp_v2@c3 py-feat/xgb_au@c4"
    )
    before = encoder.fingerprint
    assert encoder.provenance["libraries"]["py-feat"] == "2.1.5"
    assert "feat" not in {name.split(".")[0] for name in sys.modules}  # nothing heavy is imported for it
    (feat / "resources/models--py-feat--resmasknet/refs/main").write_text("new")
    assert encoder.fingerprint == before  # not one of its nets
    (feat / "resources/models--py-feat--xgb_au/refs/main").write_text("new")
    assert encoder.fingerprint != before


def test_missing_weights_name_the_repositories(feat: Path) -> None:
    for name in ("l2cs", "xgb_au"):
        (feat / f"resources/models--py-feat--{name}/refs/main").unlink()
    encoder = build("mine")
    for ask in (encoder.load, lambda: encoder.fingerprint):
        with pytest.raises(MissingModelError) as caught:
            ask()
        message = str(caught.value)
        assert "'mine' needs weights that are not on this machine: py-feat/xgb_au, py-feat/l2cs." in message
        assert f"`hf download NAME --cache-dir {feat / 'resources'}`" in message
    build(groups=["pose"]).load()  # does not need them


@pytest.mark.parametrize(
    ("detector", "repository", "file"),
    [(d, r, f) for d, r in (("v1", "pose_mlp_v2"), ("mp", "bs_to_au")) for f in OPENED_LATE[r]],
)
def test_a_file_that_pyfeat_would_go_on_without(
    feat: Path, detector: str, repository: str, file: str
) -> None:
    build(detector=detector).load()
    next((feat / f"resources/models--py-feat--{repository}").rglob(file)).unlink()
    with pytest.raises(MissingModelError, match=f"not on this machine: py-feat/{repository}\\."):
        build(detector=detector).load()


@pytest.mark.parametrize("how", ["pass", "raise OSError('damaged')"])
def test_loading_leaves_gradients_as_they_were(feat: Path, how: str) -> None:
    """py-feat's RetinaFace turns them off when it is made, for the process: a training would stand still."""
    import torch

    with open(feat / "__init__.py", "a") as file:
        file.write(
            textwrap.dedent(f"""
            def silent(self, **parts):
                import torch
                torch.set_grad_enabled(False)
                {how}
            Stand.__init__ = silent
        """)
        )
    for wanted in (True, False):
        with torch.set_grad_enabled(wanted):
            if how == "pass":
                build().load()
            else:
                with pytest.raises(MissingModelError, match="damaged"):
                    build().load()
            assert torch.is_grad_enabled() == wanted


def test_weights_that_do_not_load(feat: Path) -> None:
    with open(feat / "__init__.py", "a") as file:
        file.write(
            textwrap.dedent("""
            def broken(self, **parts):
                raise OSError("no such file: model.safetensors")
            Stand.__init__ = broken
        """)
        )
    with pytest.raises(MissingModelError, match=r"retinaface_r34@c1 .*no such file: model\.safetensors"):
        build().load()


def test_weights_that_change_while_they_load(feat: Path) -> None:
    reference = feat / "resources/models--py-feat--l2cs/refs/main"
    with open(feat / "__init__.py", "a") as file:
        file.write(f"\nStand.__init__ = lambda self, **_: print('new', file=open({str(reference)!r}, 'w'))\n")
    with pytest.raises(MissingModelError, match="fetched newer weights while it loaded; run it again"):
        build().load()


@pytest.mark.parametrize(
    "trap",
    [
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "raise OSError('libtorchcodec.so: cannot open shared object file')",
        "import a_module_that_is_not_there",
        "del Detectorv1, Detectorv2",  # py-feat 0.6
    ],
)
def test_an_import_that_fails_says_the_way_out(feat: Path, trap: str) -> None:
    with open(feat / "__init__.py", "a") as file:
        file.write(f"\n{trap}\n")
    with pytest.raises(MissingDependencyError, match=r"msa-pipeline\[pyfeat\].* torchcodec 0\.13"):
        build().load()


def test_an_import_that_fails_is_told_before_weights_that_are_missing(feat: Path) -> None:
    (feat / "resources/models--py-feat--l2cs/refs/main").unlink()
    (feat / "__init__.py").write_text("raise OSError('libtorchcodec.so: cannot open shared object file')")
    with pytest.raises(MissingDependencyError, match=r"cannot be imported: libtorchcodec\.so"):
        build().load()


def test_versions_that_turn_pitch_the_other_way(feat: Path) -> None:
    (feat.parent / "py_feat-2.1.5.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: py-feat\nVersion: 2.1.1\n"
    )
    with pytest.raises(MissingDependencyError, match=r"py-feat 2\.1\.1 .* opposite sign; expected 2\.1\.2"):
        build().load()


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (build().load, lambda: build().fingerprint):
        with pytest.raises(
            MissingDependencyError, match=r"needs py-feat, which is not installed; .*\[pyfeat\]"
        ):
            ask()


def test_other_columns_than_we_know(feat: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    package = faces_by_frame(monkeypatch, [[(1, 1, 9)]] * 5)
    monkeypatch.setattr(package.Stand, "names", lambda self: ["Pitch"])
    with pytest.raises(MissingDependencyError, match=r"py-feat 2\.1\.5 gives other columns than 2\.1"):
        build().encode(clip)


def test_its_import_leaves_no_trace(
    feat: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    capfd.readouterr()
    build().encode(clip)
    assert "OMP_NUM_THREADS" not in os.environ
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("variable", ["FEAT_MULTITASK_WEIGHTS", "FEAT_POSE_MLP_PATH"])
def test_weights_by_the_back_door(feat: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "/some/weights")
    with pytest.raises(ParamsError, match=f"{variable} puts other weights in place"):
        build().load()


def test_what_it_is_not_given(feat: Path) -> None:
    with pytest.raises(AbsentError):
        build().encode(Clip("text only"))
