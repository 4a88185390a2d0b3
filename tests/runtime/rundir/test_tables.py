import pytest

from prefrl.runtime.rundir.tables import CsvTable, last_row


def test_a_table_grows_by_rows_of_the_same_columns(tmp_path):
    table = CsvTable(tmp_path / "table.csv")
    table.append({"a": 1, "b": 1 / 3})
    table.append({"a": 2, "b": float("nan")})
    assert (tmp_path / "table.csv").read_text() == "a,b\n1,0.333333\n2,nan\n"
    with pytest.raises(ValueError, match="expected the columns"):
        table.append({"a": 3})


def test_a_table_that_is_begun_while_it_is_read_has_no_row_yet(tmp_path):
    path = tmp_path / "table.csv"
    path.touch()

    class BegunMeanwhile(type(path)):
        """Its header is written between the first look and the second."""

        def stat(self, **options):
            path.write_text("step,loss\n")
            return super().stat(**options)

    assert last_row(BegunMeanwhile(path)) is None
    assert last_row(path) is None
    path.write_text("step,loss\n1,0.5\n2,0.")
    assert last_row(path) == {"step": 1.0, "loss": 0.5}
