"""What encoders with pretrained weights share: the checkpoint that a clip's language chooses, and what it is.

Nothing here computes a number. Configs are read when a width is asked for; weights when the encoder is loaded
or, where there are several checkpoints, at the first clip that needs them: a process holds those of the
languages that it met.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from models.core.backbones import has_native_bf16
from models.core.checkpoints import Part, is_unpinned, model_identity
from pipeline.core.console import say
from pipeline.core.devices import prepare_device
from pipeline.core.errors import ClipError, FormatError, MissingModelError, MsaError, ParamsError, first_line
from pipeline.execution.gpu import Prepared
from pipeline.features.checkpoint import memory_note
from pipeline.features.encoder import BatchEncoder, Clip, Encoded
from pipeline.params.encoders import PretrainedKinds, Source

FLOAT16_MAX = 65504.0
UNPINNED = "unpinned"  # identity of a model without a commit, which no clip of a store has seen


class PretrainedStates(BatchEncoder):
    """An encoder whose rows are hidden states of a transformer, stored as float16."""

    dtype = "float16"
    PARTS: ClassVar[tuple[Part, ...]]  # what of a checkpoint decides the numbers

    params: PretrainedKinds

    @abstractmethod
    def read_config(self, source: Source) -> Any:
        """The config of a checkpoint, which the settings fit; needs no weights."""

    @abstractmethod
    def read_backbone(self, source: Source) -> Any:
        """The model of a checkpoint in the precision that is asked for, on the CPU."""

    @property
    def key(self) -> str:
        """Where params.yaml configures the encoder."""
        return f"{self.modality}.{self.name}"

    @cached_property
    def sources(self) -> list[Source]:
        """The checkpoints, each once."""
        return list(dict.fromkeys(self.params.checkpoints().values()))

    @cached_property
    def configs(self) -> dict[Source, Any]:
        """Configs of the checkpoints that are here; of several, some may be missing until a clip needs them.

        Raises
        ------
        MissingModelError : none is here
        ParamsError : their widths differ, or the settings do not fit one
        """
        found: dict[Source, Any] = {}
        self._missing: dict[Source, MissingModelError] = {}
        for source in self.sources:
            try:
                found[source] = self.read_config(source)
            except MissingModelError as error:
                self._missing[source] = error
            except MsaError:
                raise
            except Exception as error:  # transformers checks its configs with exceptions of its own
                raise FormatError(
                    f"{self.key}.model: the config.json of {source[0]} cannot be used: {first_line(error)}"
                ) from error
        if not found:
            raise next(iter(self._missing.values()))
        (first, config), *others = found.items()
        for source, other in others:
            if other.hidden_size != config.hidden_size:
                raise ParamsError(
                    f"{self.key}.model: {first[0]} is {config.hidden_size} wide and {source[0]} "
                    f"{other.hidden_size}; the columns must be the same for every language, so take "
                    "checkpoints of one width, or one encoder for each"
                )
        for ((model, _), config), layer in itertools.product(found.items(), self.params.layers):
            states = config.num_hidden_layers + 1
            if not -states <= layer < states:
                raise ParamsError(
                    f"{self.key}.layers has {layer}; {model} has {states} states: 0 to {states - 1}, "
                    f"or -{states} to -1"
                )
        return found

    @property
    def dim(self) -> int:
        width: int = next(iter(self.configs.values())).hidden_size
        return width

    @property
    def column_names(self) -> list[str]:
        return [f"h_{column}" for column in range(self.dim)]

    @property
    def model_identity(self) -> str:
        """Of the one checkpoint, or `language=identity` of each in the order of their languages.

        Of several languages some may have a model without a commit; clips of these fail (`source`).
        ParamsError where none is pinned.
        """
        checkpoints = self.params.checkpoints()
        lenient = not all(is_unpinned(*source) for source in checkpoints.values())
        found = {
            language: UNPINNED if lenient and is_unpinned(*source) else model_identity(*source, self.PARTS)
            for language, source in checkpoints.items()
        }
        if None in found:
            return found[None]
        return ", ".join(f"{language}={identity}" for language, identity in sorted(found.items(), key=str))

    @property
    def provenance(self) -> dict[str, Any]:
        known = super().provenance  # its `model` is the identity; where a folder lies must not count
        params = known["params"].items()
        return {**known, "params": {key: value for key, value in params if key not in ("model", "revision")}}

    def load(self) -> None:
        """Make ready to prepare and to infer; on CPU the process then computes with one thread.

        A single checkpoint's weights are read now, those of several when a clip needs them.
        """
        _ = self.configs  # the cheap checks come first
        prepare_device(self.device)
        if self.params.precision == "bf16" and not has_native_bf16(self.device.split(":")[0]):
            say(f"{self.key}: no bf16 of its own here: correct, but slow", error=True)
        self._backbones: dict[Source, Any] = {}
        self.load_preparer()
        if len(self.sources) == 1:
            self.backbone(self.sources[0])

    def source(self, clip: Clip) -> Source:
        """The checkpoint for a clip's language; ClipError where there is none."""
        found = self.params.checkpoint(clip.language)
        if found is None:
            there = ", ".join(sorted(str(language) for language in self.params.checkpoints()))
            raise ClipError(
                f"no model for language {clip.language!r}: {self.key}.model has {there}; "
                f"add {self.key}.model.{clip.language}, or give the clip the language that it is in"
            )
        if is_unpinned(*found):
            raise ClipError(
                f"{self.key}.revision.{clip.language} is null; pin {found[0]} to a commit "
                f"(msa-cli fetch {self.name} --pin)"
            )
        if found not in self.configs:
            raise self._missing[found]
        return found

    def backbone(self, source: Source) -> Any:
        """The model of a checkpoint on the device, read once."""
        if source not in self._backbones:
            if note := memory_note(source, self.params.precision):
                say(f"{self.key}: {note}", error=True)
            self._backbones[source] = self.read_backbone(source).to(self.device)
        return self._backbones[source]

    def infer(self, prepared: list[Prepared]) -> list[Encoded | ClipError]:
        """Features of some clips, checkpoint by checkpoint; a prepared clip's content names its `source`."""
        outcomes: dict[int, Encoded | ClipError] = {}
        for source in dict.fromkeys(one.content.source for one in prepared):
            rows = [row for row, one in enumerate(prepared) if one.content.source == source]
            contents = [prepared[row].content for row in rows]
            for row, content, states in zip(rows, contents, self.states(source, contents), strict=True):
                if np.isfinite(states).all():
                    outcomes[row] = self.encoded(content, states)
                else:
                    outcomes[row] = ClipError(f"{source[0]} gave states that are not finite")
        return [outcomes[row] for row in range(len(prepared))]

    @abstractmethod
    def states(self, source: Source, contents: list[Any]) -> list[np.ndarray]:
        """States of some prepared clips of one checkpoint, each (n, dim), float32."""

    @abstractmethod
    def encoded(self, content: Any, states: np.ndarray) -> Encoded:
        """The features of a clip, made of its states."""

    def forward(self, source: Source, *inputs: Any, **named: Any) -> np.ndarray:
        """Mean of the states of `params.layers`, (batch, n, dim), float32, of one forward of a checkpoint."""
        import torch

        with torch.inference_mode():
            output = self.backbone(source)(*inputs, **named, output_hidden_states=self.params.layers != [-1])
            if self.params.layers == [-1]:
                mean = output.last_hidden_state.float()
            else:
                # some models put their last state into the tuple before its final norm
                states = (*output.hidden_states[:-1], output.last_hidden_state)
                chosen = [states[layer] for layer in self.params.layers]
                mean = chosen[0].float() if len(chosen) == 1 else torch.stack(chosen).float().mean(dim=0)
            values: np.ndarray = mean.cpu().numpy()
        return values


def stored(states: np.ndarray) -> np.ndarray:
    """States as float16, those beyond its range at its ends."""
    return states.clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
