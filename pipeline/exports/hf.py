"""A folder that `datasets.load_dataset` reads: a Parquet file a split, and a card with `configs:`.

A row is a clip: what the clip table knows of it, `transcript`, and each modality as a list of steps. Hugging
Face's name of the split `valid` is `validation`. `stats.json` has the names of the columns, and how all
was made.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.api.sets import LoadedSet
from pipeline.core.files import write_json
from pipeline.core.vocabulary import VALID

KIND_OF_FILES = "a Hugging Face dataset"
ROWS = 100  # of a row group
CARD = """\
---
pretty_name: {name}
language: {languages}
tags: [multimodal, sentiment-analysis]
configs:
- config_name: default
  data_files:
{files}
---

# {name}

{task}

| column | content |
|---|---|
{modalities}
| `transcript` | what is said |
| `label`, `class_label` ... | the labels; null where there is none |

Features are as methods read them: chosen columns, shortened, scaled with the train split. `stats.json` names
the columns of each modality and says how they were made. Whether clips and texts may be redistributed is
up to the owner of the corpus.

```python
from datasets import load_dataset

clips = load_dataset("{name}")  # this folder
clips["train"][0]["{first}"]  # a list of steps, each a list of numbers
```
"""


def write(found: LoadedSet, folder: Path) -> list[str]:
    """`<split>.parquet` of each split that has clips, README.md and stats.json."""
    files, languages = [], set()
    for split, clips in found.items():
        if not clips:
            continue
        name = "validation" if split == VALID else split
        table = pq.read_table(found.folder / f"{split}.parquet").replace_schema_metadata(None)
        languages |= set(table["language"].to_pylist()) - {None}
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=ROWS, compression="zstd")
        files += [f"  - split: {name}", f"    path: {name}.parquet"]
    stats = dict(found.stats)
    write_json(stats, folder / "stats.json")
    classes = ", ".join(stats["class_names"])
    low, high = stats["label_range"]
    score = f"`label` is a score in [{low:g}, {high:g}]."
    task = f"Classes (`class_label`, by index): {classes}." if classes else score
    rows = [
        f"| `{modality}` | steps x {entry['dim']}, encoder {entry['encoder']}: {_short(entry['columns'])} |"
        for modality, entry in stats["modalities"].items()
    ]
    card = CARD.format(
        name=stats["dataset"],
        languages=json.dumps(sorted(languages)),
        files="\n".join(files),
        task=task,
        modalities="\n".join(rows),
        first=next(iter(stats["modalities"])),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return []


def _short(columns: list[str]) -> str:
    """A few of the names."""
    named = ", ".join(f"`{name}`" for name in columns[:4])
    return named if len(columns) <= 4 else f"{named} ..."
