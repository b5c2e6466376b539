"""The encoders that a trained run's features came from, built again from what its config.json says of them.

The run's own settings count, not those of the current params.yaml. From there, or from the presets, comes
only what differs from machine to machine (LOCAL): where a model's folder or OpenFace's program lies. A new
clip may then be encoded only when the fingerprint is that of the run, or differs by code and library versions
alone.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from pipeline.core.errors import FormatError, MissingModelError, MsaError, ParamsError
from pipeline.features.encoder import Encoder
from pipeline.features.registry import REGISTRY, build_encoder
from pipeline.params.encoders import KINDS, EncoderParams, Pretrained, TransformerText
from pipeline.params.params import MediaLimits, Params
from pipeline.training.runs import WAVEFORM, TrainedRun

LOCAL = ("model", "revision", "binary", "csv")  # settings that say where something lies, not what it is
NUMBERS = ("params", "limits")  # parts of the provenance that must be as they were
SETTINGS: TypeAdapter[EncoderParams] = TypeAdapter(Annotated[EncoderParams, Field(discriminator="kind")])


def make_encoders(
    runs: list[TrainedRun], params: Params, device: str
) -> tuple[dict[str, Encoder], list[str]]:
    """The encoders of all runs, loaded, each once, by the fingerprint of the features in the runs' sets.

    Beside them, remarks where code or libraries have other versions now. MsaError lists all features that
    cannot be made here, each with how to fix it.
    """
    encoders: dict[str, Encoder] = {}
    remarks: list[str] = []
    problems: dict[str, str] = {}
    for run in runs:
        for stream, entry in run.needed.items():
            key = entry.get("fingerprint", "")
            if key in encoders or key in problems:
                continue
            named = f"{stream} {entry.get('encoder')!r}"
            modality = "audio" if stream == WAVEFORM else stream
            try:
                encoders[key] = encoder = rebuild(modality, entry, params, device)
                remark = _compared(encoder, entry)
                encoder.load()
            except MsaError as error:
                problems[key] = f"{named} of {run.folder}: {error}"
                continue
            if remark:
                remarks.append(f"{named}: {remark}")
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems.values())
        raise MsaError(f"--run: {len(problems)} kind(s) of features cannot be made here\n{lines}")
    return encoders, remarks


def rebuild(modality: str, entry: dict[str, Any], params: Params, device: str = "cpu") -> Encoder:
    """The encoder that made the features of a training set (`entry` of its stats.json), not loaded.

    Raises
    ------
    FormatError : the features were not made by an encoder of ours, or their settings are no longer known
    MissingModelError : nothing here says where the model lies
    """
    made = entry.get("provenance") or {}
    known = made.get("params") or {}
    if known.get("kind") not in REGISTRY[modality]:
        raise FormatError(
            "no encoder of this version makes them (they were imported, or are of an unknown kind), so a "
            "new clip cannot have them; use a run trained on features of `msa-cli extract`, or train one "
            f"with assemble.<dataset>.{modality}: none"
        )
    here = getattr(params, modality).get(entry["encoder"])
    if here is None or here.kind != known["kind"]:
        here = TransformerText() if known["kind"] == "hf" else None
    local = {key: getattr(here, key) for key in LOCAL if hasattr(here, key)}
    if issubclass(KINDS[known["kind"]], Pretrained):
        local = _checkpoints(made["model"], here, modality, entry)
    own = {key: value for key, value in known.items() if key not in LOCAL}
    try:
        settings = SETTINGS.validate_python({**own, **local})
        limits = MediaLimits.model_validate(made.get("limits") or {})
    except ValidationError as error:
        reason = error.errors()[0]
        place = ".".join(map(str, reason["loc"]))
        raise FormatError(
            f"their settings do not fit this version ({place}: {reason['msg']}); train again, or use "
            "the version that made them"
        ) from error
    return build_encoder(modality, entry["encoder"], settings, limits, device)


def _checkpoints(
    identity: str, here: Pretrained | None, modality: str, entry: dict[str, Any]
) -> dict[str, Any]:
    """`model` and `revision` of the checkpoints that an identity names; folders are where params say."""
    several = "=" in identity
    parts = [part.split("=", 1) if several else [None, part] for part in identity.split(", ")]
    local = here.checkpoints() if here is not None else {}
    found: dict[str | None, tuple[str, str | None]] = {}
    for language, named in parts:
        model, at, commit = str(named).partition("@")
        if at:
            found[language] = (model, commit)
        elif language in local:
            found[language] = local[language]
        else:
            key = f"{modality}.{entry['encoder']}.model" + (f".{language}" if language else "")
            raise MissingModelError(
                f"their model was a folder (SHA-256 {model[:12]}...), and params do not say where it is "
                f"here; give it with --set {key}=FOLDER"
            )
    models = {language: model for language, (model, _) in found.items()}
    revisions = {language: revision for language, (_, revision) in found.items()}
    if several:
        return {"model": models, "revision": revisions}
    return {"model": models[None], "revision": revisions[None]}


def _compared(encoder: Encoder, entry: dict[str, Any]) -> str:
    """What differs from the run's features without forbidding their use; empty where nothing does.

    ParamsError where the numbers would be others.
    """
    if encoder.fingerprint == entry["fingerprint"]:
        return ""
    now, then = encoder.provenance, entry["provenance"]
    if now["model"] != then.get("model"):
        raise ParamsError(
            f"the model here is {now['model'][:60]}, theirs was {str(then.get('model'))[:60]}; use that one "
            f"instead (--set {encoder.modality}.{encoder.name}.model=FOLDER), or train on features of the "
            "one that is here"
        )
    if changed := [key for key in NUMBERS if now[key] != then.get(key)]:
        details = ", ".join(f"{key} {then.get(key)!r} then, {now[key]!r} now" for key in changed)
        raise ParamsError(
            f"the encoder now gives other numbers ({details}); train again, or use the version that made them"
        )
    if absent := set(entry.get("columns", ())) - set(encoder.column_names):
        raise ParamsError(
            f"the encoder no longer gives {len(absent)} of their columns, e.g. {min(absent)!r}; train again"
        )
    versions = [
        f"{name} {then['libraries'].get(name, 'none')} then, {now['libraries'].get(name, 'none')} now"
        for name in sorted({*now["libraries"], *then["libraries"]})
        if now["libraries"].get(name) != then["libraries"].get(name)
    ]
    causes = ["other code"] if now["code"] != then.get("code") else []
    causes += [f"other library versions ({', '.join(versions)})"] if versions else []
    return f"made with {' and '.join(causes)}; numbers may differ a little" if causes else ""
