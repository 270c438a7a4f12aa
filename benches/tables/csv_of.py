#!/usr/bin/env python3
"""Write a table as CSV, with a column that has the number of the row: csv_of.py TABLE OUT"""
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

table = pq.read_table(sys.argv[1])
for at, field in enumerate(table.schema):
    if pa.types.is_list(field.type):
        table = table.set_column(at, field.name, pc.binary_join(table[field.name], ', '))
table = table.add_column(0, 'row', pa.array(range(len(table))))
pyarrow.csv.write_csv(table, sys.argv[2])
