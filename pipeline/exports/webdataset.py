"""WebDataset's shards: tar files in which a clip is `<key>.npz` (its arrays) and `<key>.json` (the rest).

The key is the clip's number in its split, because a dot in an id would end a key; `clip_id` is in the JSON.
Equal sets give equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.api.sets import LoadedSet
from pipeline.core.files import write_json

KIND_OF_FILES = "WebDataset shards"
CLIPS = 1000  # of a shard


def write(found: LoadedSet, folder: Path) -> list[str]:
    """`<split>-<number>.tar` of each split that has clips, and stats.json."""
    for split, clips in found.items():
        numbered = list(enumerate(clips.items()))
        for shard, start in enumerate(range(0, len(numbered), CLIPS)):
            with tarfile.open(folder / f"{split}-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for number, (clip_id, frames) in numbered[start : start + CLIPS]:
                    arrays: dict[str, Any] = {name: one.values for name, one in frames.items() if len(one)}
                    content = io.BytesIO()
                    np.savez(content, **arrays)
                    facts = {"clip_id": clip_id, **clips.facts[clip_id]}
                    told = json.dumps(facts, ensure_ascii=False, allow_nan=False).encode()
                    for suffix, data in (("npz", content.getvalue()), ("json", told)):
                        member = tarfile.TarInfo(f"{number:06d}.{suffix}")
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
    write_json(dict(found.stats), folder / "stats.json")
    return []
