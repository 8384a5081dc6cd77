"""Settings of the documentation site: ``sphinx-build -W -b html docs DIR``."""

import os
import subprocess
import sys
from importlib.metadata import version as version_of

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

project = "subpath"
project_copyright = "the authors of subpath"
release = version = version_of("subpath")

extensions = [
    "myst_parser",  # pages are Markdown, which forges show too
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88
add_module_names = False

html_theme = "furo"
html_title = f"subpath {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

linkcheck_anchors = False


class Help(SphinxDirective):
    """``{help} WORDS``: what ``subpath WORDS --help`` prints."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The words, as typed, and what they print."""
        words = ["subpath", *self.arguments[0].split(), "--help"]
        done = subprocess.run(
            [sys.executable, "-m", *words],
            capture_output=True,
            check=True,
            env={**os.environ, "COLUMNS": "88"},
            text=True,
        )
        text = f"$ {' '.join(words)}\n{done.stdout.strip()}"
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> None:
    """Add the directive of this file."""
    app.add_directive("help", Help)
