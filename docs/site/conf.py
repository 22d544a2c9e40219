# The site of `make docs`: which files are its pages, and their order. The pages are plain Markdown that reads as well where the
# repository is looked at; nothing in them is written for Sphinx. Why Sphinx: docs/adr/0008-site.md.

project = "Serin"
author = "the authors of Serin"
copyright = author
extensions = ["myst_parser"]

# The source is the whole tree, so that links between docs/, charts/ and the files beside them are the same in both places. What
# they lead to and is no page (a template, a chart's values) is copied.
root_doc = "docs/index"
include_patterns = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "charts/*/README.md"]
exclude_patterns = ["target", ".git", "docs/site"]

# Headings have the anchors that readers of Markdown elsewhere give them.
myst_heading_anchors = 4
# Blocks of YAML show what matters and leave the rest out as `...`, which no YAML reader takes.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = "Serin"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False

# The order of the pages. One that is missing here fails the build.
NAVIGATION = {
    "Start": ["docs/getting-started", "docs/concepts", "README"],
    "On call": ["docs/troubleshooting", "docs/runbooks", "docs/notifications", "docs/metrics"],
    "Adopt": [
        "charts/serin-analysis/README",
        "docs/analysis-library",
        "docs/migrate",
        "docs/differences",
        "docs/compatibility",
    ],
    "Run": ["docs/operating", "docs/gitops", "docs/security", "charts/serin/README"],
    "Look up": ["docs/fields", "CHANGELOG"],
    "Change Serin": ["ARCHITECTURE", "CONTRIBUTING", "docs/adr/*"],
}


def navigation():
    """The order as Sphinx takes it."""
    lists = []
    for caption, pages in NAVIGATION.items():
        glob = [":glob:"] if any("*" in page for page in pages) else []
        entries = [f":caption: {caption}", ":hidden:", *glob, "", *(f"/{page}" for page in pages)]
        lists.append("\n".join(["```{toctree}", *entries, "```"]))
    return "\n\n".join(lists)


def with_navigation(app, page, source):
    if page == root_doc:
        source[0] += "\n\n" + navigation() + "\n"


def setup(app):
    app.connect("source-read", with_navigation)
