"""The stand-in for py-feat, installed, and a clip for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from made.media_factory import make_clip
from made.pyfeat_package import MP, OPENED_LATE, PACKAGE, V1_COMMITS, forget

from pipeline.features.encoder import Clip


@pytest.fixture
def feat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-in's folder, first on the path; the process forgets it afterwards."""
    folder = tmp_path / "site" / "feat"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "MPDetector.py").write_text(MP)
    versions = {"py_feat": "2.1.5", "timm": "1.0.20", "torchvision": "0.28.0", "xgboost": "3.1.0"}
    for name, number in versions.items():
        info = folder.parent / f"{name}-{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {number}\n"
        )
    for name, commit in {
        **V1_COMMITS,
        **dict.fromkeys(("face_multitask_v2", "mp_facemesh_v2", "mp_blendshapes", "bs_to_au"), "c9"),
    }.items():
        reference = folder / "resources" / f"models--py-feat--{name}" / "refs" / "main"
        reference.parent.mkdir(parents=True)
        reference.write_text(commit)
        for file in OPENED_LATE.get(name, ()):
            there = reference.parents[1] / "snapshots" / commit / file
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch()
    monkeypatch.syspath_prepend(str(folder.parent))
    forget()
    yield folder
    forget()


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Five frames of 64 x 48, 0.2 s apart."""
    return Clip("clip", make_clip(tmp_path / "clip.mkv", times=[i / 5 for i in range(5)]))
