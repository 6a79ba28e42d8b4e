import pandas as pd
import pytest

from tangentlm.report.tables import folded, readable, searchable


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (12345, "12,345"),
        (1363.7, "1,364"),
        (2.0, "2"),
        (0.12345, "0.123"),
        (float("nan"), ""),
        (None, ""),
        (True, "True"),
        ("a < b", "a &lt; b"),
    ],
)
def test_a_cell_is_readable(value, shown):
    table = readable(pd.DataFrame({"x": pd.Series([value], dtype=object)}), {"x": "n"}).data
    assert f">{shown}</td>" in table


def test_columns_of_words_are_marked():
    rows = pd.DataFrame({"a": [None, "of words"], "b": [1.5, None]})
    table = readable(rows, {"a": "first", "b": "second"}).data
    assert '<th class="words">first</th><th>second</th>' in table
    assert '<td class="words"></td><td>1.5</td>' in table


def test_a_table_has_the_columns_that_were_asked_for():
    rows = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    table = readable(rows, {"b": "of b", "c": "missing"}).data
    assert "<th>of b</th><th>missing</th>" in table
    assert "<td>3</td><td></td>" in table
    assert "<td>1</td>" not in table


def test_a_cell_leads_where_its_link_says():
    rows = pd.DataFrame({"b": [1, 2], "a": ["x", "y"], "to": ['#table-"1"', ""]})
    table = readable(rows, {"b": "number", "a": "claim"}, links={"a": "to"}).data
    assert '<td>1</td><td class="words"><a href="#table-&quot;1&quot;">x</a></td>' in table
    assert '<td class="words">y</td>' in table
    assert table.count("<td") == 4  # the addresses are no column


def test_a_link_leads_into_a_folded_table_so_that_it_opens():
    table = folded(readable(pd.DataFrame({"a": [1]})), "Long & wide", "table-2").data
    assert "<summary>Long &amp; wide</summary>" in table
    assert table.index("<details") < table.index('id="table-2"') < table.index("<table")
    assert "id=" not in folded(readable(pd.DataFrame({"a": [1]})), "Long").data


def test_no_rows_read_not_run():
    assert "Not run" in readable(pd.DataFrame(), {"a": "a"}).data


def test_a_searchable_table_has_every_row_and_its_html():
    cells = pd.DataFrame({"run": [f'<a id="r{i}">r{i}</a>' for i in range(5000)], "score": "1.0"})
    table = searchable(cells, ["score"]).data
    assert all(f'id=\\\\\\"r{i}\\\\\\"' in table for i in range(5000))  # JSON inside of JSON
    assert '"targets": [1]' in table
    assert "unpkg.com" not in table
