"""The pages: no dead link between them, README, CONTRIBUTING and code; commands and settings as they are."""

from __future__ import annotations

import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.main import get_command

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "experiments/*/*.md", "data/sample/*.md")
    for path in PROJECT.glob(pattern)
)
FENCE = re.compile(r"^(```+)(.*?)\n(.*?)^\1 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
ROOMS = ("pipeline/", "models/", "tests/", "docs/", "experiments/", "data/sample/")
FILE = re.compile(r"(?<![\w/.<>*-])(?:(?:[\w.-]+/)*[\w-]+\.(?:py|j2)|docs/[\w/-]+\.md)\b")
FOREIGN = {  # of the repositories that corpora and their features come from
    *("create_dataset.py", "data_loader.py", "data_prepare.py", "get_raw_data.py"),
    *("extract_audio_features.py", "extract_features.py"),
}


def doc(name: str) -> str:
    """A page of docs/."""
    return (PROJECT / "docs" / name).read_text("utf-8")


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """What a code-hosting page makes of the headings."""
    headings = re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", target):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or not file.is_relative_to(PROJECT) or (anchor and anchor not in anchors(file)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_paths_of_the_project_exist(page: Path) -> None:
    named = {path for path in CODE.findall(prose(page)) if re.fullmatch(r"[\w./-]+", path)}
    at_top = {path.name for path in PROJECT.iterdir() if path.is_file()}
    ours = {path for path in named if path.startswith(ROOMS) or path in at_top or path.endswith(".yaml")}
    assert not {path for path in ours if not any((top / path).exists() for top in (PROJECT, page.parent))}


def test_code_names_files_that_exist() -> None:
    """By their path, or by their last parts where the reader knows the folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    ours = [name for name in listed.splitlines() if (PROJECT / name).exists()]
    dead = []
    for name in ours:
        if not name.endswith((".py", ".yaml", ".toml", ".j2", "Makefile")) or name.startswith("tests/"):
            continue
        for file in set(FILE.findall((PROJECT / name).read_text("utf-8"))) - FOREIGN:
            ending = "/" + re.sub(r"^(\.\./)+", "", file)
            if not any(f"/{path}".endswith(ending) for path in ours):
                dead.append(f"{name}: {file}")
    assert not dead


def test_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text("utf-8").splitlines()) <= 150


def test_every_page_is_in_the_contents() -> None:
    index = doc("index.md")
    contents = re.search(r"```{toctree}(.*?)```", index, re.DOTALL)
    assert contents is not None
    listed = re.findall(r"^\w+$", contents[1], re.MULTILINE)
    assert sorted([*listed, "index"]) == sorted(path.stem for path in (PROJECT / "docs").glob("*.md"))
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(listed)


def test_tables_of_settings_are_those_of_params() -> None:
    """Each method's on one page."""
    script = runpy.run_path(str(PROJECT / "docs/settings.py"))
    params = (PROJECT / "params.yaml").read_text("utf-8")
    pages = [doc(name) for name in script["PAGES"]]
    for page in pages:
        assert page == script["filled"](page, params), "run: python docs/settings.py"
    places = sorted(name for page in pages for name in script["tables_of"](page))
    methods = sorted(YAML(typ="safe").load(params)["models"])
    assert places == methods, "a section `## Name` in docs/baselines.md, then: python docs/settings.py"


def first_cells(text: str) -> set[str]:
    """What the rows of the page's tables name in their first cell."""
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    return {name for cell in cells for name in CODE.findall(cell)}


def test_pages_name_all_kinds_presets_methods_tables_extras_and_rooms() -> None:
    from pipeline.corpora.ingest import KINDS as CORPORA
    from pipeline.evaluation.tables import TABLES
    from pipeline.imports.registry import KINDS as IMPORTS

    params = YAML(typ="safe").load((PROJECT / "params.yaml").read_text("utf-8"))
    assert first_cells(doc("corpora.md")) >= {*CORPORA, *IMPORTS}
    assert first_cells(doc("features.md")) >= {*params["text"], *params["audio"], *params["visual"]}
    assert first_cells(doc("methods.md")) >= set(params["models"])
    methods = "|".join(params["models"])
    listed = re.findall(rf"`((?:{methods}) [\w-]+)`", doc("comparing.md"))
    assert sorted(listed) == sorted(" ".join(table) for table in TABLES)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    extras = re.search(r"^Extras: (.*)\.$", doc("index.md"), re.MULTILINE)
    optional = project["project"]["optional-dependencies"]
    assert extras is not None and set(CODE.findall(extras[1])) == set(optional)
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    rooms = re.findall(r"^\| `pipeline/(\w+)` \|", doc("extending.md"), re.MULTILINE)
    assert rooms == re.findall(r"pipeline\.(\w+)", " ".join(reversed(layers)))


def commands() -> list[list[str]]:
    """Calls of msa-cli in pages, in blocks of code and between words, as lists of words."""
    texts = [page.read_text("utf-8") for page in PAGES]
    lines = [line for text in texts for _, _, block in FENCE.findall(text) for line in block.splitlines()]
    lines += [code for page in PAGES for code in CODE.findall(prose(page).replace("\n", " "))]
    lines = [re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line) for line in lines]
    calls = [line.split("#")[0].split() for line in lines if line.startswith("msa-cli ")]
    return [call for call in calls if len(call) > 1 and re.fullmatch(r"[a-z]+", call[1])]


def spellings(option: Any) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def test_commands_and_their_options_exist() -> None:
    from pipeline.cli.app import app

    calls, wrong = commands(), []
    assert len(calls) > 20
    for call in calls:
        command: Any = get_command(app)
        words = call[1:]
        while hasattr(command, "commands") and words and words[0] != "...":
            command = command.commands.get(words.pop(0))
        known = {"--help"} | {name for option in getattr(command, "params", ()) for name in spellings(option)}
        if command is None or not {word for word in words if word.startswith("--")} <= known:
            wrong.append(" ".join(call))
    assert not wrong


def test_variables_of_the_environment_exist() -> None:
    def named(paths: Iterable[Path]) -> set[str]:
        return {name for path in paths for name in re.findall(r"MSA_[A-Z_]+", path.read_text("utf-8"))}

    code = named(path for top in ("pipeline", "models") for path in (PROJECT / top).rglob("*.py"))
    pages = named(path for path in PAGES if path.name != "CHANGELOG.md")
    assert {"MSA_WORKERS", "MSA_DEVICE"} <= pages <= {*code, "MSA_SHARED", "MSA_REAL_MODELS", "MSA_RAVDESS"}


def test_modules_to_run_exist() -> None:
    texts = [page.read_text("utf-8") for page in PAGES]
    for name in {
        name for text in texts for name in re.findall(r"python -m ((?:pipeline|models)[\w.]*)", text)
    }:
        assert (PROJECT / name.replace(".", "/")).with_suffix(".py").exists()


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    texts = [page.read_text("utf-8") for page in PAGES if page.name != "CHANGELOG.md"]
    used = {name for text in texts for name in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)}
    assert used <= targets
    assert {"demo", "test", "bench", "docs", "sample"} <= used


def test_citation_is_that_of_the_project() -> None:
    """The keys that CFF 1.2.0 asks for, and what pyproject.toml says too."""
    cited = YAML(typ="safe").load((PROJECT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["type"] == "software"
    assert [set(author) for author in cited["authors"]] == [{"name"}]
    told = (cited["title"], cited["version"], cited["license"], cited["abstract"])
    assert told == (project["name"], project["version"], project["license"], project["description"])
