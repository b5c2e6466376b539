"""`msa-cli info` and `doctor`: what they say is what is there."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.cli import doctor
from pipeline.cli.info import describe, render
from pipeline.core.errors import FormatError, MsaError
from pipeline.core.stage_code import unlike_lock
from pipeline.params.encoders import PyFeatParams, TransformerText
from pipeline.params.params import Params
from pipeline.store.shard import FeatureRow, write_rows
from pipeline.store.store import shard_name

META = {
    "modality": "audio",
    "encoder": "toy",
    "fingerprint": "abc",
    "dim": 2,
    "dtype": "float32",
    "column_names": ["f0_log", "mfcc_0"],
    "frame_rate": 50.0,
}


def shown(described: dict) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(*render(described))
    return console.export_text()


def test_features_in_one_file_or_many(tmp_path: Path) -> None:
    values = np.array([[1, 10], [3, 30]], np.float32)
    write_rows(
        tmp_path / shard_name(0), [FeatureRow("a", "s", "ok", "", values, np.array([0.0, 0.02]))], META
    )
    write_rows(tmp_path / shard_name(1), [FeatureRow("b", "s", "failed", "b.mp4: the file is empty")], META)
    described = describe(tmp_path)
    assert described["clips"] == 2 and described["status"] == {"ok": 1, "failed": 1}
    assert described["frames"] == {"total": 2, "shortest": 2, "longest": 2}
    assert described["columns"]["mfcc_0"] == {"mean": 20, "sd": 10, "min": 10, "max": 30}
    assert described["notes"] == {"b": "failed: b.mp4: the file is empty"}
    text = shown(described)
    assert all(
        word in text for word in ("f0_log", "frame_rate: 50.0", "fingerprint: abc", "the file is empty")
    )
    assert describe(tmp_path / shard_name(0))["clips"] == 1
    json.dumps(described)


def test_any_other_table(tmp_path: Path) -> None:
    table = pa.table({"clip_id": ["a", "b"], "split": ["train", "test"], "label": [1.0, None]})
    pq.write_table(
        table.replace_schema_metadata({"msa.dataset": '{"task": "regression"}'}), tmp_path / "c.parquet"
    )
    described = describe(tmp_path / "c.parquet")
    assert described["rows"] == 2 and described["counts"]["split"] == {"train": 1, "test": 1}
    assert described["columns"]["label"]["null"] == 1 and described["columns"]["label"]["mean"] == 1.0
    assert described["provenance"]["msa.dataset"] == {"task": "regression"}
    assert "regression" in shown(described)


def test_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"method": "misr", "seed": 1}')
    assert describe(tmp_path)["config"]["method"] == "misr"
    assert "misr" in shown(describe(tmp_path))


def test_what_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(MsaError, match="no such file"):
        describe(tmp_path / "nothing")
    with pytest.raises(FormatError, match=r"neither a run \(config\.json\)"):
        describe(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(FormatError, match="not a Parquet file"):
        describe(tmp_path / "a.txt")


def test_doctor_finds_the_default_path_fit_and_says_what_others_lack() -> None:
    params = Params(text={"minilm": TransformerText(), "mine": TransformerText(model="./no/such/folder")})
    checks = {check.what: check for check in doctor.examine(params)}
    assert checks["torch"].level == "ok"
    for encoder in ("text encoder minilm", "audio encoder librosa33", "visual encoder facemesh"):
        assert checks[encoder].level == "ok" and checks[encoder].found.startswith("runs (")
    assert checks["text encoder mine"].level == "note"  # no job wants it
    assert "no/such/folder" in checks["text encoder mine"].found
    assert not [check for check in checks.values() if check.level == "error"]


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        (None, []),
        (f"numpy=={version('numpy')}\n# a comment\npip==1\nno-such-package==1\n", ["ok lock"]),
        (f"torch=={version('torch').partition('+')[0]}\n", ["ok lock"]),  # and its build for CPU alone
        ("numpy==1.0\nRuamel_Yaml==0.1\n", ["warning numpy", "warning ruamel-yaml", "warning how to fix"]),
    ],
)
def test_doctor_compares_what_is_installed_with_the_lock(
    tmp_path: Path, lock: str | None, expected: list[str]
) -> None:
    if lock is not None:
        (tmp_path / "constraints.txt").write_text(lock)
    checks = doctor._lock(tmp_path)
    assert [f"{check.level} {check.what}" for check in checks] == expected
    if len(checks) > 1:
        assert set(unlike_lock(["Ruamel.yaml", "torch"], tmp_path)) == {"ruamel-yaml"}
        assert checks[0].found == f"{version('numpy')} is installed, constraints.txt has 1.0"
        assert checks[-1].found.startswith("pip install -c constraints.txt -e .")


def install(folder: Path, package: str, module: str, code: str) -> None:
    """A stand-in for a package, as pip would leave it."""
    (folder / module).mkdir()
    (folder / module / "__init__.py").write_text(code)
    info = folder / f"{package.replace('-', '_')}-9.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 9.1\n")


@pytest.mark.parametrize(
    ("package", "level", "code"),
    [
        ("torchaudio", "error", "raise OSError('libcudart.so.13: cannot open shared object file')"),
        ("torchvision", "error", "raise RuntimeError('operator torchvision::nms does not exist')"),
        (
            "torchcodec",
            "warning",
            "raise RuntimeError('Could not load libtorchcodec. Likely causes: FFmpeg')",
        ),
    ],
)
def test_doctor_knows_builds_for_another_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, level: str, code: str
) -> None:
    install(tmp_path, package, package, code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, package, raising=False)  # the real one, where it is installed
    checks = [check for check in doctor._torch() if check.level != "ok"]
    assert [(check.what, check.level) for check in checks] == [(package, level), ("how to fix", level)]
    assert (
        "9.1 cannot be imported with this torch" in checks[0].found and code.split("'")[1] in checks[0].found
    )
    assert f"pip uninstall -y {package} " in checks[1].found
    assert ("transformers breaks" in checks[1].found) == (level == "error")
    assert "torchvision 0.28 and torchcodec 0.13 with torch 2.13" in checks[1].found


def test_doctor_imports_an_extra_before_it_speaks_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "torchcodec", "torchcodec", "raise RuntimeError('Could not load libtorchcodec')")
    install(tmp_path, "py-feat", "feat", "import torchcodec")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("feat", "torchcodec"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    params = Params(text={}, audio={}, visual={"pyfeat": PyFeatParams()})
    (found,) = (check.found for check in doctor._encoders(params) if check.what == "visual encoder pyfeat")
    assert "cannot be imported: Could not load libtorchcodec" in found and "weights" not in found
    extras = {check.what: check for check in doctor._extras()}
    assert extras["extra pyfeat"].level == "warning"
    assert "cannot be imported: RuntimeError: Could not load libtorchcodec" in extras["extra pyfeat"].found
