"""params.yaml: typed, with defaults in the classes; every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.core.errors import ParamsError
from pipeline.params.encoders import FaceMeshParams, Librosa33Params, TransformerText, Waveform16kParams
from pipeline.params.params import MediaLimits, Params, TrainParams, check_params, load_params


@pytest.fixture(scope="module")
def project_params(project: Path) -> Params:
    return load_params(project / "params.yaml")


def test_the_projects_file_is_valid_and_complete(project_params: Params, project: Path) -> None:
    written = YAML(typ="safe").load(project / "params.yaml")
    assert set(written) == set(Params.model_fields)
    for section, model in (("media", MediaLimits), ("train", TrainParams)):
        assert set(written[section]) == set(model.model_fields), section
    for modality in ("text", "audio", "visual"):
        assert set(written[modality]) == set(getattr(Params(), modality)), modality
        for name, settings in written[modality].items():
            assert set(settings) == set(type(project_params.encoder(modality, name)).model_fields), name


def test_defaults_of_the_classes_equal_params_yaml(project_params: Params) -> None:
    """`extract` works without a params.yaml and must then give the same numbers."""
    defaults = Params()
    assert project_params.text == defaults.text
    assert project_params.audio == defaults.audio
    assert project_params.visual == defaults.visual
    assert project_params.media == defaults.media
    assert project_params.train == defaults.train
    assert project_params.max_failed_fraction == defaults.max_failed_fraction
    assert (TransformerText(), Librosa33Params(), FaceMeshParams()) == (
        defaults.text["minilm"],
        defaults.audio["librosa33"],
        defaults.visual["facemesh"],
    )


SET = "dataset: sample, metrics: mmsa, text: none"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("visual.facemesh.fsp=10", "did you mean 'fps'"),
        ("visual.facemesh.fps=-1", "visual.facemesh.fps is -1: Input should be greater than 0"),
        ("visual.facemesh.face=big", "'largest', 'most_central', 'track' or 'speaking'"),
        ("text.minilm.precision=fp16", "'fp32' or 'bf16'"),
        ("sharsd=3", "did you mean 'shards'"),
        ("shards=none", "shards is 'none'"),
        ("models_run=[misr, mizr]", "did you mean 'misr'"),
        ("datasets_run=[mosi]", "datasets_run has 'mosi', but assemble.mosi is missing"),
        ("jobs.text.sample-minilm.encoder=bart", "jobs.text.sample-minilm.encoder 'bart' is not known"),
        ("jobs.audio.sample-librosa33.kind=hf", "make them equal"),
        ("shards.a=1", "'shards' is a value, not a section"),
        ("shards", "expected key.path=value"),
        ("shards=[", "--set shards=[: the value, line 1, column 2: cannot be read as YAML"),
        ("seeds=[1, 1]", "the same seed twice"),
        ("seeds=[]", "seeds is []"),
        ("seeds=[-1]", "seeds.0 is -1"),
        ("visual.facemesh.fps=.inf", "visual.facemesh.fps is inf: Input should be a finite number"),
        ("datasets.sample.label_range=[3, -3]", "expected [smallest, largest]"),
        ("datasets.sample.label_range=[.nan, 1]", "finite number"),
        ("assemble.sample={dataset: sample, text: none}", "assemble.sample.metrics is missing"),
        (f"assemble.sample={{{SET}, audio: none, waveform: none}}", "assemble.sample.visual is missing"),
        (f"assemble.sample={{{SET}, audio: none, visual: none}}", "assemble.sample.waveform is missing"),
        ("assemble.sample.dataset=simple", "assemble.sample.dataset 'simple' is not known, did you mean"),
        ("assemble.sample.protocol.folds={number: 3, fold: 3}", "fold is 3, expected 0 to 2 of 3 folds"),
        ("assemble.sample.protocol.train_fraction=0", "assemble.sample.protocol.train_fraction is 0"),
        ("imports.sample={kind: csd, root: x}", "'sample' is in datasets and in imports"),
        ("pretrain_on=mosi", "pretrain_on 'mosi' is not known (there are: none, sample)"),
        (
            "audio.mine={hop_length: 512}",
            "'audio.mine.kind' is missing (there are: hf_audio, whisper, librosa33",
        ),
        ("audio.mine.kind=librosa3", "audio.mine.kind 'librosa3' is not known, did you mean 'librosa33'"),
        ("audio.librosa33.hop=512", "key 'audio.librosa33.hop': name 'hop' is not known"),
        ("audio.librosa33.hop_length=1", "audio.librosa33.hop_length is 1: Input should be greater"),
        ("audio.mine={kind: waveform16k, sample_rate: 8000}", "key 'audio.mine.sample_rate'"),
        ("datasets.sample.task=classification", "datasets.sample: classes is missing"),
        ("datasets.sample.task=ranking", "'regression' or 'classification'"),
        ("datasets.sample.classes=[sad, glad]", "write `task: classification`"),
        ("datasets.sample.classes=[sad]", "datasets.sample.classes: ['sad']: expected"),
        ("datasets.sample.classes=[sad, Sad]", "differ in more than case"),
        ("datasets.sample.classes=[sad, ' ']", "at least two names"),
        ("datasets.sample.classes=[0, 1]", "datasets.sample.classes.0 is 0"),
        ("datasets.sample.classes=[sad, macro]", "'macro' is taken: f1_macro"),
        ("assemble.sample.metrics=cls", "'cls', expected mmsa, sims or magbert for a regression"),
        ("models.misr.corpora={other: {}}", "models.misr.corpora.sample is missing; write `sample: {}`"),
    ],
)
def test_mistakes_are_named(project: Path, override: str, said: str) -> None:
    with pytest.raises(ParamsError) as caught:
        load_params(project / "params.yaml", [override])
    assert said in str(caught.value)
    assert f"--set {override}" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_classification() -> None:
    moods = {"root": "x", "task": "classification", "classes": ["sad", "neutral", "glad"]}
    chosen = {"dataset": "moods", **dict.fromkeys(("text", "audio", "visual", "waveform"), "none")}
    tree = {"datasets": {"moods": moods}, "assemble": {"moods": {**chosen, "metrics": "cls"}}}
    found = check_params(tree, "test").corpus_of("moods")
    assert (found.task, found.classes) == ("classification", moods["classes"])
    tree["assemble"]["moods"]["metrics"] = "mmsa"
    with pytest.raises(ParamsError, match=r"assemble\.moods\.metrics is 'mmsa', expected cls for a class"):
        check_params(tree, "test")


def test_kinds_of_audio_encoders(project: Path) -> None:
    params = load_params(project / "params.yaml", ["audio.sound.kind=waveform16k"])
    assert params.encoder("audio", "sound") == Waveform16kParams()
    assert isinstance(params.encoder("audio", "librosa33"), Librosa33Params)


def test_labels_of_another_training_set_for_the_pretrain_stage(project: Path) -> None:
    assert Params().pretrain_on == "none"
    assert load_params(project / "params.yaml", ["pretrain_on=sample"]).pretrain_on == "sample"


def test_overrides_are_read_as_yaml(project: Path) -> None:
    params = load_params(project / "params.yaml", ["visual.facemesh.fps=12.5", "seeds=[1, 2, 3]"])
    assert params.visual["facemesh"].fps == 12.5
    assert params.seeds == [1, 2, 3]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="cannot be read as YAML"):
        load_params(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(ParamsError, match="cannot be read as YAML"):
        load_params(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ParamsError, match="a mapping"):
        load_params(tmp_path / "list.yaml")


def test_a_corpus_own_values_lie_over_the_base(project_params: Params) -> None:
    misr = project_params.models["misr"]
    resolved = misr.resolved("sample")
    for key, value in misr.corpora["sample"].items():
        if not isinstance(value, dict):
            assert resolved[key] == value
    assert misr.resolved("another corpus") == misr.base


def test_unknown_names_list_the_valid_ones(project_params: Params) -> None:
    with pytest.raises(ParamsError, match=r"there are: sample"):
        project_params.dataset("mosi")
    with pytest.raises(ParamsError, match=r"there are: minilm, bert"):
        project_params.encoder("text", "minilm2x")


def test_tables_that_an_encoder_reads_are_where_dvc_looks(project: Path) -> None:
    def job(source: str) -> list[str]:
        settings = "{dataset: sample, encoder: openface, kind: openface" + source + "}"
        return ["visual.openface.csv=tables", f"jobs.visual.sample-openface={settings}"]

    load_params(project / "params.yaml", job(", source: tables"))
    for source in ("", ", source: data/features/none", ", source: elsewhere"):
        with pytest.raises(ParamsError, match=r"write 'tables', which visual\.openface reads"):
            load_params(project / "params.yaml", job(source))
