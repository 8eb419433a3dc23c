"""Docstrings as griffe reads them: it knows Google's headings, and one name a line."""

import re

import griffe

ENTRIES = re.compile(
    r"^    (?P<names>\*{0,2}\w+(?:,\s+\*{0,2}\w+)*): (?P<text>.*(?:\n {6,}.*)*)",
    re.MULTILINE,
)
SECTION = r"^{}:\n(?P<body>(?:    .*\n?|\n(?=    ))+)"


def one_by_one(match: re.Match) -> str:
    """An entry for each of the names that share one."""
    names = re.split(r",\s+", match["names"])
    return "\n".join(f"    {name}: {match['text']}" for name in names)


def as_list(match: re.Match) -> str:
    """A paragraph of code for each name, as the rest of the page has it."""
    items = ENTRIES.sub(
        lambda e: f"    - `{e['names']}`: {' '.join(e['text'].split())}", match["body"]
    )
    return f"Call arguments:\n{items}"


def readable(text: str) -> str:
    """Our headings as Google's, and lists where there is none for them."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    for heading in ("Args", "Attributes"):
        text = re.sub(
            SECTION.format(heading),
            lambda m: m[0].replace(m["body"], ENTRIES.sub(one_by_one, m["body"])),
            text,
            flags=re.MULTILINE,
        )
    return re.sub(SECTION.format("Call arguments"), as_list, text, flags=re.MULTILINE)


class Headings(griffe.Extension):
    """Applies it to all that is documented."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Rewrites the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = readable(obj.docstring.value)
