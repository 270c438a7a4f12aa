#!/usr/bin/env python3
"""Write a large table and a second version with 1 % of its rows updated, scattered: large.py FLIGHTS OUT_DIR ROWS

The flights of flights.py over and over, each time in another year and with other delays, a row group at a time. Updated are
the delays and the tail number.
"""
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

flights, out, rows = pq.read_table(sys.argv[1]), sys.argv[2], int(sys.argv[3])
GROUP = 1 << 20
random = np.random.default_rng(7)
os.makedirs(out, exist_ok=True)


def replace(table, name, values):
    return table.set_column(table.schema.get_field_index(name), name, values.cast(table.schema.field(name).type))


def moved(table, name):
    return replace(table, name, pc.add(table[name], pa.array(random.integers(-3, 4, len(table)), pa.float64())))


def group(first, many):
    places = np.arange(first, first + many)
    table = flights.take(pa.array(places % len(flights)))
    year = pa.array(2013 + places // len(flights))
    table = replace(table, 'year', year)
    return moved(moved(table, 'dep_delay'), 'arr_delay').combine_chunks()


def updated(table):
    changed = pa.array(random.random(len(table)) < 0.01)
    others = table.take(pa.array(random.integers(0, len(table), len(table))))
    for name in ('dep_delay', 'arr_delay', 'tailnum'):
        table = replace(table, name, pc.if_else(changed, others[name].combine_chunks(), table[name].combine_chunks()))
    return table


paths = [os.path.join(out, name) for name in ('v1.parquet', 'v2.parquet')]
writers = [pq.ParquetWriter(path, flights.schema) for path in paths]
for first in range(0, rows, GROUP):
    table = group(first, min(GROUP, rows - first))
    writers[0].write_table(table)
    writers[1].write_table(updated(table))
for writer in writers:
    writer.close()
