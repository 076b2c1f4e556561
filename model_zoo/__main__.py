"""`python -m model_zoo` prints the table of `docs/zoo.md`; a test holds the page to it."""

from __future__ import annotations

from model_zoo import MODELS, suites_of

_FRAMEWORKS = ("torch", "keras", "tensorflow", "tflite", "tfjs", "jax", "transformers")


def table() -> str:
    """Return the models as a Markdown table, framework by framework."""
    rows = ["| model | task | framework | paper | suites |", "|---|---|---|---|---|"]
    for framework in _FRAMEWORKS:
        for model in MODELS.values():
            if model.framework == framework:
                links = ", ".join(f"[{path.name}](../{path.as_posix()})" for path in suites_of(model.name))
                rows.append(f"| `{model.name}` | {model.task} | {framework} | {model.source_paper} | {links} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
