"""What the documents show is true: Python blocks run, links lead somewhere, tables are ours."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

import subpath

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / ".github").rglob("*.md"))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.M | re.S)


NEED_LIBRARIES = {"lightning.md", "trainers.md"}
ELSEWHERE = {*NEED_LIBRARIES, "tutorial.md"}  # that one runs in test_notebook.py
WITH_CODE = [page for page in PAGES if blocks(page, "python") and page.name not in ELSEWHERE]
WITH_LIBRARIES = [page for page in PAGES if page.name in NEED_LIBRARIES]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_python_blocks_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_blocks(page)


@pytest.mark.libraries
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", WITH_LIBRARIES, ids=lambda page: page.stem)
def test_python_blocks_with_libraries_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_blocks(page)


def run_blocks(page: Path) -> None:
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{page.name}, block {number}", "exec"), namespace)


def test_readme_has_code_and_docs_too() -> None:
    assert {"README.md", "usage.md"} <= {page.name for page in WITH_CODE}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_are_there(page: Path) -> None:
    """Every path of the repository that a page names in code is there."""
    assert not re.search("^(<<<<<<<|>>>>>>>)", page.read_text(), re.M), "a merge was left half done"
    named = re.findall(r"`((?:subpath|tests|docs|recipes)/[\w./-]+)`", page.read_text())
    for path in named:
        assert (ROOT / path).exists(), path
    known = {
        path.name
        for folder in ("subpath", "tests", "docs")
        for path in (ROOT / folder).rglob("*.py")
    }
    alone = set(re.findall(r"`(\w+\.py)`", page.read_text()))
    assert alone <= known, alone - known


def test_readme_s_report_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from subpath.cli.app import main

    (shown,) = (b for b in blocks(ROOT / "README.md", "text") if "subpath report" in b)
    command, *lines = shown.splitlines()
    monkeypatch.setattr(sys, "argv", command.removeprefix("$ ").split())
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) > 10
    for line in lines:
        assert line in printed or line.strip() == "..."


def test_readme_s_lines_need_python_and_pip_alone() -> None:
    lines = blocks(ROOT / "README.md", "bash")
    assert len(lines) == 2
    for line in lines:
        assert line.count("\n") == 1
        words = {part.split()[0] for part in line.split("&&")}
        assert words <= {"python3", ".venv/bin/pip", ".venv/bin/subpath", ".venv/bin/pytest"}


def test_every_page_is_on_the_site() -> None:
    pages = {
        page.relative_to(ROOT / "docs") for page in PAGES if page.is_relative_to(ROOT / "docs")
    }
    listed = set((ROOT / "docs" / "index.md").read_text().splitlines())
    names = {page.with_suffix("").as_posix() for page in pages} - {"index"}
    assert names <= listed


def test_every_public_name_is_in_the_reference() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    documented = set(re.findall(r"^\.\. auto\w+:: subpath\.(\w+)", pages, re.M))
    elsewhere = {"SubpathError", "__version__"}  # the first in subpath.errors, with all others
    assert set(subpath.__all__) - documented == elsewhere


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[; ]", d)[0] for d in project["dependencies"]}
    design = (ROOT / "docs" / "design.md").read_text()
    told = set(re.findall(r"^\| ([a-z]+) \|", design, re.M)) - {"package", "extra", "room"}
    assert told == names
    assert set(re.findall(r"^\| `([a-z]+)` \|", design, re.M)) == set(
        project["optional-dependencies"]
    )


def test_no_dependency_has_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for dependency in (*project["dependencies"], *(d for extra in extras for d in extra)):
        assert not re.search(r"<|==|~=", dependency), dependency


def test_the_changelog_knows_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
