from __future__ import annotations

from app.config.reference import render_reference


def test_every_key_is_listed_with_default_and_meaning() -> None:
    page = render_reference()
    assert "| `allocation.k` | int | `0` | Number of experts; 0 chooses it" in page
    assert '| `corpus.columns.text` | str | `"text"` | Column with the document\'s text. |' in page
    assert "`uniform` or `proportional` or `temperature` or `unimax`" in page
    assert "| `baselines.<name>.equal_steps` | bool | `false` |" in page
