"""Settings for kind `arrays` to start from, each with what speaks for it: YAML with comments."""

from __future__ import annotations

import io
from collections import Counter
from itertools import islice
from typing import Any

from pipeline.core.errors import FormatError
from pipeline.core.names import escaped
from pipeline.core.vocabulary import CLASSES, LABELS, MODALITIES
from pipeline.corpora.tables.labels import LABEL_FILES
from pipeline.corpora.tables.values import number_of
from pipeline.formats.source import Source
from pipeline.formats.text import listed, text_of
from pipeline.imports.checks import matrix
from pipeline.imports.kinds.arrays.files import ArrayFiles
from pipeline.imports.kinds.arrays.listing import Entry, entries
from pipeline.imports.kinds.arrays.roles import LISTS, Candidate, candidates, role_of
from pipeline.imports.kinds.arrays.settings import SPLIT
from pipeline.imports.padding import Edges, clean, disagree, edges, side_of, sides_of
from pipeline.imports.survey import about_sides
from pipeline.params.explain import some_of

MOST_SHOWN = 100  # arrays that are listed
MOST_CLIPS = 1000  # whose padding is looked at
HEAD = """\
Draft settings, with the evidence for each: correct them, save them as mapping.yaml, and import with
--mapping mapping.yaml; in params.yaml they go under imports.NAME.settings.
"""


def draft(source: Source) -> str:
    """What there is, and the settings that fit it best; FormatError where nothing is."""
    from ruamel.yaml import YAML

    files = ArrayFiles(source)
    found = list(islice(entries(files), MOST_SHOWN + 1))
    shown = [f"  {entry}" for entry in found[:MOST_SHOWN]] + ["  ..."] * (len(found) > MOST_SHOWN)
    readable = [entry for entry in found if entry.count]
    if not readable:
        raise FormatError(f"{source}: no readable arrays{': ' * bool(found)}{some_of([*map(str, found)], 1)}")
    guess = Guess(files, readable)
    yaml, text = YAML(), io.StringIO()
    yaml.width = 1000
    yaml.dump(guess.settings, text)
    said = ["There are:", *shown, *HEAD.splitlines(), *guess.evidence]
    return "\n".join(f"# {escaped(line)}" for line in said) + f"\n{text.getvalue().rstrip()}"


class Guess:
    """The settings that fit the entries best.

    Attributes
    ----------
    settings : as in params.yaml
    evidence : a line for each of them, and for what is left open
    """

    def __init__(self, files: ArrayFiles, found: list[Entry]):
        self.files = files
        self.settings: dict[str, Any] = {}
        self.evidence: list[str] = []
        self.roles: dict[str, Candidate] = {}
        table = next((name for name in LABEL_FILES if (files.source.folder / name).is_file()), None)
        unused: list[str] = []
        for one in candidates([entry for entry in found if entry.reference.partition(":")[0] != table]):
            role = role_of(files, one)
            if role == "ids" and one.words and not self.by_split:
                role = LISTS
            alone = self.by_split and not one.words and not one.entries[0].by_clip
            if not role or alone or self.roles.setdefault(role, one) is not one:
                unused.append(one.reference)
        self._splits(table)
        self._ids(table)
        self._labels(table)
        for modality in MODALITIES:
            self._modality(modality)
        if not {*MODALITIES} & {*self.roles}:
            self.evidence.append(
                "text, audio, visual: none found; add for example audio: {array: FILE:ARRAY}"
            )
        if "lengths" in self.roles and not any(
            "lengths" in self.settings.get(name, {}) for name in MODALITIES
        ):
            unused.append(self.roles["lengths"].reference)
        if unused:
            self.evidence.append(f"not used: {listed(unused)}")

    @property
    def by_split(self) -> Candidate | None:
        """An array that each split has of its own, where there is one."""
        return next((one for role, one in self.roles.items() if one.words and role != LISTS), None)

    def _splits(self, table: str | None) -> None:
        if one := self.by_split:
            self.settings["splits"] = dict(one.words)
            counts = [f"{entry.count} {split}" for split, entry in zip(one.words, one.entries, strict=True)]
            self.evidence.append(f"splits: {', '.join(counts)} clips by {one.reference}")
            for other in self.roles.values():
                if other.words and other.words != one.words:
                    self.evidence.append(
                        f"splits: {other.reference} has {', '.join(other.words.values())}, which differs: "
                        "`{split}` must be the same word in all; rename or remove one of them"
                    )
        elif table is not None:
            self.evidence.append(f"splits: by {table}")
        elif lists := self.roles.get(LISTS):
            self.settings["splits"] = {
                split: lists.reference.replace(SPLIT, word) for split, word in lists.words.items()
            }
            self.evidence.append(f"splits: by the ids listed in {lists.reference}")
        elif one := self.roles.get("splits"):
            self.settings["splits"] = one.reference
            counted = Counter(text_of(value) for value in one.values(self.files))
            counts = [f"{count} {name}" for name, count in counted.items()]
            self.evidence.append(f"splits: {', '.join(counts)} clips by {one.reference}")
        else:
            self.evidence.append("splits: none found; without `splits` all clips go to train")

    def _ids(self, table: str | None) -> None:
        if one := self.roles.get("ids"):
            self.settings["ids"] = one.reference
            self.evidence.append(f"ids: {one.reference}, {text_of(one.values(self.files)[0])} ...")
        elif any(one.entries[0].by_clip for one in self.roles.values()):
            self.evidence.append("ids: the names in groups")
        elif table is None:
            self.evidence.append("ids: none found; without `ids` clips are named train_000000 ...")

    def _labels(self, table: str | None) -> None:
        if table is not None:
            self.settings["labels"] = table
            return
        names = {column: column for column in (*CLASSES, *LABELS, "speaker")} | {"text column": "text"}
        labels = {}
        for role, column in names.items():
            if one := self.roles.get(role):
                labels[column] = one.reference
                values = sorted({text_of(value) for value in one.values(self.files)})
                numbers = [number for value in values if (number := number_of(value)) is not None]
                span = f"{min(numbers):g} to {max(numbers):g}" if numbers else some_of(values)
                self.evidence.append(f"{column}: {one.reference}, {len(values)} values: {span}")
        if labels:
            self.settings["labels"] = labels
        if not {*names} & {*labels} - {"text", "speaker"}:
            self.evidence.append("labels: none found; without `labels` clips have none")

    def _modality(self, modality: str) -> None:
        one = self.roles.get(modality)
        if one is None:
            return
        self.settings[modality] = {"array": one.reference}
        padded = [name for name in MODALITIES if name in self.roles and self.roles[name].entries[0].padded]
        lengths = self.roles.get(f"lengths of {modality}")
        if lengths is None and padded == [modality]:
            lengths = self.roles.get("lengths")
        if lengths is not None and lengths.words == one.words:
            self.settings[modality]["lengths"] = lengths.reference
        else:
            lengths = None
        entry = one.entries[0]
        about = f"{modality}: {one.reference}, {entry.shape} {entry.dtype} per clip"
        self.evidence.append(about + (self._padding(one, lengths) if entry.padded else ""))

    def _padding(self, one: Candidate, lengths: Candidate | None) -> str:
        """On which side how many clips have rows of zeros."""
        found: list[Edges] = []
        steps: list[int] = []
        for place, entry in enumerate(one.entries):
            array, rows = self.files.find(entry.reference), range(min(entry.count, MOST_CLIPS))
            found += [edges(clean(matrix(array[row], None, entry.reference))[0]) for row in rows]
            if lengths is not None:
                said = self.files.values(lengths.entries[place].reference, entry.count)
                steps += [int(said[row]) for row in rows]
        if side_of(found, steps) is None:
            return "; no padding"
        sides = sides_of(found, steps)
        way_out = "; add `side: front` or `side: back`" if disagree(sides) else ""
        return f"; padded: {about_sides(sides)}{way_out}"
