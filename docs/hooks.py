"""What mkdocs does besides: decisions, the changelog, links out, quiet notebooks."""

import re
from pathlib import Path

from mkdocs.structure.files import File

DOCS = Path(__file__).parent
# A link to a file of the repository that is not part of the site.
OUTWARD = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)\)")

# Of a notebook's output: what libraries say when they start, on the standard error,
# and objects that a cell happens to end with.
NOISE = re.compile(
    r'<div class="jp-OutputArea-child[^>]*>\s*'
    r'<div class="jp-OutputPrompt[^>]*>[^<]*</div>\s*'
    r'<div [^>]*(?:vnd\.jupyter\.stderr|executeResult"[^>]*text/plain)"[^>]*>\s*'
    r"<pre>.*?</pre>\s*</div>\s*</div>",
    re.DOTALL,
)


def on_config(config):
    """Adds the decisions, last of all that there is to read."""
    (about,) = config.nav[-1].values()
    found = sorted((DOCS / "decisions").glob("*.md"))
    about.append({"Decisions": [str(file.relative_to(DOCS)) for file in found]})
    return config


def on_files(files, config):
    """Adds the changelog, which lies beside the documentation."""
    changelog = (DOCS.parent / "CHANGELOG.md").read_text()
    files.append(File.generated(config, "changelog.md", content=changelog))
    return files


def on_page_markdown(markdown, page, **_):
    """Names a file of the repository where a page leads to it."""
    here = (DOCS / page.file.src_uri).parent

    def named(match):
        target = (here / match[2]).resolve()
        if target.is_relative_to(DOCS) or not target.exists():
            return match[0]  # in the site, or wrong, which mkdocs says
        name = str(target.relative_to(DOCS.parent))
        return f"`{name}`" if match[1] == name else f"{match[1]} (`{name}`)"

    return OUTWARD.sub(named, markdown)


def on_post_page(output, **_):
    """Leaves out of notebooks what nobody asked for."""
    return NOISE.sub("", output)
