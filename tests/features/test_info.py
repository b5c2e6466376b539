"""`msa-cli info` and `doctor`: what they say is what is there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipeline.cli import doctor
from pipeline.cli.info import describe, render
from pipeline.core.errors import FormatError, MsaError
from pipeline.params.encoders import TransformerText
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


def test_doctor_knows_the_state_that_breaks_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA build of torchaudio beside CPU torch raises OSError at import."""

    class Broken:
        def find_spec(self, name: str, *_: object) -> object:
            if name == "torchaudio":
                from importlib.machinery import ModuleSpec

                return ModuleSpec(name, self)
            return None

        def create_module(self, spec: object) -> ModuleType | None:
            raise OSError("libcudart.so.13: cannot open shared object file")

        def exec_module(self, module: ModuleType) -> None: ...

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.setattr(doctor, "version", lambda name: "2.11.0")
    checks = doctor._torch()
    assert [check.what for check in checks if check.level == "error"] == ["torchaudio", "way out"]
    assert "libcudart" in checks[1].found
    assert "pip uninstall -y torchaudio" in checks[-1].found
