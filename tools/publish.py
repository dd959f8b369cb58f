"""Write this repository's address where readers need it: `make publish`.

That is into the lessons (a badge, and where Colab installs the package from), the README,
CITATION.cff and pyproject.toml. Until then no place names an address, so no link is dead. A second
call changes nothing; one with another address replaces the first. Outputs are not touched.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
GITHUB = "https://github.com"
COLAB = "https://colab.research.google.com"
COLAB_SIGN = f"{COLAB}/assets/colab-badge.svg"
BINDER = "https://mybinder.org"
SOURCE = re.compile(r'^SOURCE = "[^"]*"', flags=re.MULTILINE)
HERE = ".."  # seen from a lesson: the folder that its own copy of the package lies in

# The first code cell of every lesson; a test compares. `--no-deps`: Colab's own torch stays. No
# folder is installed from: it may be read-only, or belong to another project.
INSTALL_CELL = f"""\
# Finds `vaelab`: installed here, in the folder above, or, as on Colab, installed from SOURCE.
import sys
from importlib.util import find_spec
from pathlib import Path

SOURCE = "{HERE}"  # `make publish` writes the address of the repository here
if not find_spec("vaelab") and Path("{HERE}", "vaelab", "lesson.py").is_file():
    sys.path.insert(0, str(Path("{HERE}").resolve()))
elif not find_spec("vaelab"):
    if "://" not in SOURCE:
        raise ModuleNotFoundError("Open a copy of the repository, or write its address into SOURCE")
    %pip install --quiet --no-deps {{SOURCE}}"""


def repository(remote: str) -> str:
    """Read "owner/name" from the address of a git remote.

    Args:
        remote: such as ``git@github.com:owner/name.git``.

    Returns:
        The repository's name with its owner.

    Raises:
        ValueError: if it is not on GitHub, from where alone Colab opens notebooks by address.
    """
    match = re.search(r"github\.com[:/]+([\w.-]+/[\w.-]+?)(?:\.git)?/?$", remote)
    if match is None:
        raise ValueError(
            f"the git remote is {remote!r}, expected one on github.com; "
            "name the repository yourself: make publish REPO=owner/name"
        )
    return match[1]


def colab_badge(repo: str, stem: str) -> str:
    """A badge that opens a lesson in Colab."""
    link = f"{COLAB}/github/{repo}/blob/main/notebooks/{stem}.ipynb"
    return f"[![Open lesson {int(stem[:2])} in Colab]({COLAB_SIGN})]({link})"


def with_badges(markdown: str, badges: str) -> str:
    """Put badges below the title, in place of those that are there; none if the text is empty."""
    markdown = re.sub(r"\n\n\[!\[.*", "", markdown)
    start, blank, rest = markdown.partition("\n\n")
    return start + blank + (f"{badges}\n\n" if badges else "") + rest


def stamp_lesson(path: Path, repo: str | None, source: str | None = None) -> None:
    """Write the badge and the source of the package into a notebook, and nothing else.

    Args:
        path: the notebook.
        repo: "owner/name"; None takes the address out again.
        source: what pip installs, if not the repository on GitHub.
    """
    nb = nbformat.read(path, as_version=4)
    nb.cells[0].source = with_badges(
        nb.cells[0].source, colab_badge(repo, path.stem) if repo else ""
    )
    source = source or (f"git+{GITHUB}/{repo}" if repo else HERE)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.source = SOURCE.sub(f'SOURCE = "{source}"', cell.source)
    nbformat.write(nb, path)


def stamp_readme(text: str, repo: str | None, stems: list[str]) -> str:
    """Put the badges of all lessons, of Binder and of the pages below the README's title."""
    if not repo:
        return with_badges(text, "")
    owner, name = repo.split("/")
    binder = f"{BINDER}/v2/gh/{repo}/main?urlpath=lab/tree/notebooks/{stems[0]}.ipynb"
    badges = [
        *(colab_badge(repo, stem) for stem in stems),
        f"[![Open all lessons on Binder]({BINDER}/badge_logo.svg)]({binder})",
        f"[Read the lessons as pages](https://{owner}.github.io/{name}/)",
    ]
    return with_badges(text, " ".join(badges))


def stamp_line(text: str, before: str, key: str, repo: str | None) -> str:
    """Put a line with the address before another one, in place of one that is there."""
    text = re.sub(rf"^{re.escape(key)}.*\n", "", text, flags=re.MULTILINE)
    line = f'{key} "{GITHUB}/{repo}"\n' if repo else ""
    return re.sub(rf"^{re.escape(before)}", line + before, text, count=1, flags=re.MULTILINE)


def publish(root: Path, repo: str | None) -> None:
    """Stamp every place of a copy of this repository.

    Args:
        root: the copy.
        repo: "owner/name"; None takes the address out again.

    Raises:
        ValueError: if ``repo`` is not an owner and a name.
    """
    if repo is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"REPO is {repo!r}, expected owner/name")
    lessons = sorted((root / "notebooks").glob("*.ipynb"))
    for path in lessons:
        stamp_lesson(path, repo)
    stems = [path.stem for path in lessons]
    edits = {
        "README.md": lambda text: stamp_readme(text, repo, stems),
        "CITATION.cff": lambda text: stamp_line(text, "license:", "repository-code:", repo),
        "pyproject.toml": lambda text: stamp_line(text, "classifiers", "urls.Code =", repo),
    }
    for name, edit in edits.items():
        path = root / name
        path.write_text(edit(path.read_text("utf-8")), encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repo", nargs="?", help="owner/name; by default that of the remote origin")
    repo = parser.parse_args().repo
    try:
        if not repo:
            command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
            remote = subprocess.run(command, capture_output=True, text=True).stdout.strip()
            repo = repository(remote)
        publish(ROOT, repo)
    except ValueError as error:
        parser.exit(2, f"publish: {error}\n")
    print(f"    {GITHUB}/{repo} stands in the lessons, README.md, CITATION.cff and pyproject.toml")


if __name__ == "__main__":
    main()
