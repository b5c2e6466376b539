"""A project of four stages under git and DVC: a table of clips, two methods, and a report, run once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PARAMS = """\
models_run: [one, two]
seeds: [1, 2]
models:
  one: {base: {width: 8, weights: {prior: 0.4}}}
  # of the second,
  # so far from the first
  # that git merges both
  two: {base: {width: 8}}
"""

DAG = """\
stages:
  ingest:
    foreach: [sample]
    do:
      cmd: python code/ingest.py
      deps: [data/sample, constraints.txt, code/ingest.py]
      outs: [{data/clips.parquet: {persist: true}}]
  train:
    matrix: {method: "${models_run}", dataset: [sample]}
    cmd: python code/train.py ${item.method}
    deps: [data/clips.parquet, "models/${item.method}", code/train.py]
    params: ["models.${item.method}", seeds]
    outs: [{"runs/${item.method}-${item.dataset}": {persist: true}}]
  report:
    cmd: python code/report.py
    deps: [runs/one-sample, runs/two-sample]
    outs: [{report.md: {cache: false}}]
"""

METHOD = '''\
"""A method."""

WIDTH = 8


class Method:
    """Its model."""

    def forward(self, x):
        return x * WIDTH

    def losses(self, x):
        """Unweighted."""
        return {"prior": x}
'''

FILES = {
    "params.yaml": PARAMS,
    "dvc.yaml": DAG,
    "constraints.txt": "numpy==2.1.0\ntorch==2.6.0  # with CUDA\n",
    ".gitignore": "/data/clips.parquet\n/runs/\n",
    ".dvcignore": "__pycache__\n",
    "data/sample/label.csv": "clip_id,text\na$_$1,good\na$_$2,bad\n",
    "models/one/model.py": METHOD,
    "models/two/model.py": METHOD,
    "code/ingest.py": """\
import csv, pyarrow as pa, pyarrow.parquet as pq
rows = list(csv.DictReader(open("data/sample/label.csv")))
pq.write_table(pa.Table.from_pylist(rows), "data/clips.parquet")
""",
    "code/train.py": """\
import sys, shutil
from pathlib import Path
folder = Path("runs", f"{sys.argv[1]}-sample")
for seed in (1, 2):
    (folder / str(seed)).mkdir(parents=True, exist_ok=True)
    shutil.copy("data/clips.parquet", folder / str(seed) / "model.safetensors")
    (folder / str(seed) / "config.json").write_text(Path("params.yaml").read_text())
""",
    "code/report.py": """\
from pathlib import Path
Path("report.md").write_text(str(sorted(map(str, Path("runs").rglob("*")))))
""",
}


def environment() -> dict[str, str]:
    """With this environment's commands, and an author for git."""
    names = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | names | {"DVC_NO_ANALYTICS": "1", "PATH": path}


def run(folder: Path, *command: str, ok: bool = True) -> str:
    """Output of a command in the project; `ok` says whether it must succeed."""
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, f"{' '.join(command)} -> {done.returncode}\n{output}"
    return output


def commit(folder: Path, message: str) -> None:
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", message)


def make_project(folder: Path) -> Path:
    """The project, its stages run and committed."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "init", "-q")
    run(folder, "dvc", "repro", "-q")
    commit(folder, "First")
    return folder
