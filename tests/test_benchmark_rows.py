import pytest
from csv_rows import append_row


def test_a_table_is_begun_and_grows(tmp_path):
    path = tmp_path / "table.csv"
    append_row(path, {"seed": 0, "label": "a, b"})
    append_row(path, {"seed": 1, "label": ""})
    assert path.read_text().splitlines() == ["seed,label", '0,"a, b"', "1,"]


def test_a_row_with_other_columns_does_not_go_below_the_others(tmp_path):
    path = tmp_path / "table.csv"
    append_row(path, {"seed": 0, "labels": 1})
    before = path.read_text()
    with pytest.raises(AssertionError, match="has the columns"):
        append_row(path, {"labels": 1, "seed": 0})
    assert path.read_text() == before
