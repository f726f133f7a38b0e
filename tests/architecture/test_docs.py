"""The pages hold what they promise: links lead somewhere, names are documented, code runs."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import click
import pytest

import tokenfuse_sdk
from tokenfuse_sdk.cli.main import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "examples" / "README.md",
        *(ROOT / "docs").glob("*.md"),
    ]
)
# An sdist has no .git: the picture of the README, which is no part of the package, may lack.
IS_CHECKOUT = (ROOT / ".git").exists()
MAY_LACK = set() if IS_CHECKOUT else {ROOT / "docs" / "demo.png"}


def _name(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _text(path: pathlib.Path) -> str:
    """A page without its code, in which brackets are no links."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "`code`", text)


def _anchors(path: pathlib.Path) -> set[str]:
    """The fragments that a page's headings get on GitHub."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def _blocks(path: pathlib.Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```"
    return re.findall(pattern, path.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", _text(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, fragment = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.is_relative_to(ROOT), f"{_name(page)} links out of the repository: {link}"
        if path in MAY_LACK:
            continue
        assert path.exists(), f"{_name(page)} links to {link}, which is not there"
        if fragment:
            assert fragment in _anchors(path), f"{_name(page)}: no heading for {link}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=_name)
def test_every_page_can_be_reached_from_the_readme(page):
    assert f"(docs/{page.name})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_public_name_is_documented():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    missing = [n for n in tokenfuse_sdk.__all__ if not re.search(rf"`(tf\.)?{n}\b", text)]
    assert missing == []


def test_every_public_method_is_documented():
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    names = [name for name in vars(tokenfuse_sdk.Model) if not name.startswith("_")]
    assert [name for name in names if not re.search(rf"`{name}\b", text)] == []


def test_every_verb_and_option_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    context = click.Context(cli)
    for verb in cli.list_commands(context):
        assert f"## {verb}\n" in text
        command = cli.get_command(context, verb)
        assert command is not None
        for parameter in command.params:
            for option in parameter.opts:
                assert not option.startswith("-") or f"`{option}" in text, f"{verb} {option}"


@pytest.mark.parametrize("name", ["README.md", "docs/api.md", "docs/bundle.md", "docs/engine.md"])
def test_the_code_on_the_pages_runs(name, tmp_path):
    blocks = _blocks(ROOT / name, "python")
    assert blocks
    for code in blocks:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
