"""The pages of docs/ as a site: complete, without a warning, and with nothing from another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from ruamel.yaml import YAML
from support.paths import ROOT

DOCS = ROOT / "docs"
SETTINGS = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text())


class Page(HTMLParser):
    """The anchors of a page of the site, its links, and what a browser loads for it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and found.get("rel") in {"stylesheet", "icon", "preconnect", "preload"}:
            self.loaded.append(found["href"])
        elif "src" in found:
            self.loaded.append(found["src"])


def pages_of(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list):
        yield from (page for each in nav for page in pages_of(each))
    elif isinstance(nav, dict):
        yield from (page for each in nav.values() for page in pages_of(each))


def test_every_page_is_in_the_navigation_once() -> None:
    assert sorted(pages_of(SETTINGS["nav"])) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_page_is_on_the_front_page() -> None:
    front = (DOCS / "index.md").read_text()
    assert [page for page in pages_of(SETTINGS["nav"]) if page != "index.md" and f"]({page})" not in front] == []


def test_pictures_are_small_and_shown() -> None:
    texts = "".join(page.read_text() for page in [*DOCS.rglob("*.md"), ROOT / "README.md"])
    for picture in [*DOCS.rglob("*.png"), *DOCS.rglob("*.svg")]:
        assert picture.stat().st_size < 165_000, picture
        assert picture.name in texts, picture


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does it."""
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


@pytest.mark.long
def test_links_of_the_site_lead_to_pages_and_anchors(site: Path) -> None:
    pages = {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    assert len(pages) > 20
    for file, page in pages.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or link in {"", "."}:
                continue
            target = (file.parent / unquote(path)).resolve() if path else file
            assert target.exists(), (file.name, link)
            assert not anchor or target.suffix != ".html" or unquote(anchor) in pages[target].ids, (file.name, link)


@pytest.mark.long
def test_the_site_loads_nothing_from_another_host(site: Path) -> None:
    for file in site.rglob("*.html"):
        assert [each for each in Page(file).loaded if re.match(r"(https?:)?//", each)] == [], file.name
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert not re.search(r"url\([\"']?(https?:)?//|@import", styles)


@pytest.mark.long
def test_tables_of_the_site_have_no_backslashes_of_the_source(site: Path) -> None:
    for file in site.rglob("*.html"):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", file.read_text(), re.DOTALL)
        assert [cell for cell in cells if r"\|" in cell] == [], file.name


@pytest.mark.long
def test_items_of_lists_on_the_site_are_not_run_together(site: Path) -> None:
    for file in site.rglob("*.html"):
        paragraphs = re.findall(r"<p>(.*?)</p>", file.read_text(), re.DOTALL)
        assert [each for each in paragraphs if re.search(r"\n *- ", each)] == [], file.name
