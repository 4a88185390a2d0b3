import pytest

from prefrl.runtime.tables import CsvTable


def test_a_table_grows_by_rows_of_the_same_columns(tmp_path):
    table = CsvTable(tmp_path / "table.csv")
    table.append({"a": 1, "b": 1 / 3})
    table.append({"a": 2, "b": float("nan")})
    assert (tmp_path / "table.csv").read_text() == "a,b\n1,0.333333\n2,nan\n"
    with pytest.raises(ValueError, match="expected the columns"):
        table.append({"a": 3})
