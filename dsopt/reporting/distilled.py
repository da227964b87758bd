"""What is shown of distilled images: a plain table for the terminal, and the images as one picture."""

from collections.abc import Sequence


def columns(header: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table for a terminal: the first `words` columns aligned left, numbers right."""
    table = [list(header), *map(list, lines)]
    widths = [max(len(line[i]) for line in table) for i in range(len(header))]
    shown = [
        "  ".join(c.ljust(w) if i < words else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in table
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join(line.rstrip() for line in [shown[0], rule, *shown[1:], rule])
