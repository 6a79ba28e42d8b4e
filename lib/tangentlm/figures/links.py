"""The data of a figure, for its readers to download."""

from __future__ import annotations

import base64

import pandas as pd
from IPython.display import HTML


def data_link(table: pd.DataFrame, name: str) -> HTML:
    """A link to download the data of a figure or table; the data is in the page itself.

    Args:
        table: What the figure shows, or what it was made of.
        name: The file's name without its ending.

    Returns:
        A link to display.
    """
    encoded = base64.b64encode(table.to_csv(index=False).encode()).decode()
    return HTML(
        f'<a class="data-link" download="{name}.csv" href="data:text/csv;base64,{encoded}">'
        f"Data ({name}.csv, {len(table)} rows)</a>"
    )
