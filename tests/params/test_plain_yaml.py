"""YAML from people's hands: plain data, or one line that says where the fault is; nothing is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml as pyyaml

from pipeline.core.errors import ParamsError
from pipeline.params.plain_yaml import read_yaml, read_yaml_file

DOUBLING = "\n".join(["a0: &a0 [1, 1]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))])
MERGING = "\n".join(
    ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 60))]
)
FAULTS = [
    ("seeds: [1]\nshards: " + "9" * 5000, "line 2, column 9: .*more than 66 digits"),
    ("shards: 0x" + "f" * 9000, "line 1, column 9: .*more than 66 digits"),
    ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    ("a: " + "{b: " * 5000 + "1" + "}" * 5000, "nested too deeply"),
    ("\n".join(" " * i + "a:" for i in range(2000)), "nested too deeply"),
    (DOUBLING, "more than 100000 values"),
    (MERGING, "more than 100000 values"),
    ("a: &a [*a]", "more than 100000 values"),
    ("a: 1\nb: \0", r"line 2, column 4: .*U\+0000"),
    ("a:\n\tb: 1", "line 2, column 1: .*cannot start any token"),
    (b"a: 1\nb: \xff", "line 2, column 4: .*UTF-8"),
    ("a: 1\na: 2", 'line 2, column 1: .*duplicate key "a"'),
    ("a:\n  b: !!python/object:os.system x", "line 2, column 6: .*type python/object:os.system"),
    ("a: !!python/object/apply:os.system ['touch PWNED']", "line 1, column 4: .*python/object/apply"),
    *((f"a: !!{kind}", f"line 1, column 4: .*type {kind.split()[0]}") for kind in ("set {b}", "binary aGk=")),
    ("a: 1\n? {b: 1}\n: 2", "line 2, column 3: .*unhashable key"),
    ("a: 2020-01-01", "line 1, column 4: .*type timestamp.*quote"),
    ("a: !mine x", "line 1, column 4: .*type !mine"),
    ("a: !!int abc", "line 1, column 4: .*'abc' is not a valid int"),
    ("a: *unknown", "line 1, column 4: .*undefined alias"),
    ("a: [1,", "line 1, column 7"),
    ("a: 1\n---\nb: 2", "line 2, column 1: .*single document"),
    ('a: "\\U00110000"', "cannot be read as YAML"),
    ("a: " + "x" * 4_000_001, "characters, expected at most 4000000"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS, ids=[said[:40] for _, said in FAULTS])
def test_a_fault_is_one_line_with_its_place(text: str | bytes, said: str) -> None:
    with pytest.raises(ParamsError, match=said) as caught:
        read_yaml(text, "file.yaml")
    message = str(caught.value)
    assert message.startswith("file.yaml") and len(message.splitlines()) == 1 and len(message) < 400


def test_what_is_plain_reads_as_another_reader_has_it(project: Path) -> None:
    for file in ("params.yaml", "dvc.yaml", "experiments/mosi/params.yaml"):
        assert read_yaml_file(project / file) == pyyaml.safe_load((project / file).read_bytes())
    text = "a: &x {b: 1, c: [true, null, 1.5, 'y', é]}\nd: {<<: *x, b: 2}\ne: *x\n"
    assert read_yaml(text, "file.yaml") == pyyaml.safe_load(text)
    assert read_yaml("", "file.yaml") is None


def test_who_changes_what_was_read_changes_no_later_reading() -> None:
    read_yaml("a: {b: [1]}", "file.yaml")["a"]["b"].append(2)
    assert read_yaml("a: {b: [1]}", "file.yaml") == {"a": {"b": [1]}}


@pytest.mark.parametrize("text", [*(text for text, _ in FAULTS[::3]), "- 1", "[]"])
def test_params_and_other_files_that_people_hand_over(
    text: str | bytes, tmp_path: Path, cli: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = text if isinstance(text, bytes) else text.encode()
    Path("mapping.yaml").write_bytes(content)
    Path("arrays").mkdir()
    Path("params.yaml").write_text("datasets: {}\n")
    commands = [("import", "arrays", "--name", "mine", "--mapping", "mapping.yaml")]
    if isinstance(text, str) and text[0] != "-" and "\0" not in text:
        commands.append(("extract", "--video", "x.mp4", "--out", "out", "--set", f"datasets={text}"))
        commands.append(("validate", "arrays", "--setting", f"labels={text}"))
    for command in commands:
        code, output = cli(*command)
        assert code == 2 and "Traceback" not in output, command[0]
        assert len(output.strip().splitlines()) == 1, output[:500]
    Path("params.yaml").write_bytes(content)
    for command in (
        ("stage", "ingest", "sample"),
        ("info", "sample"),
        ("ingest", "folder", "arrays", "--name", "x"),
    ):
        code, output = cli(*command)
        assert code == 2 and "Traceback" not in output, command[0]
        assert len(output.strip().splitlines()) == 1, output[:500]
