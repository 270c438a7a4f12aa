#!/usr/bin/env python3
"""Write a Parquet file again with its pages as they are when they are unpacked, for a patch of these: pages.py FILE OUT

Of a file that pyarrow wrote with its defaults the pages are the same ones, since the same writer divides them.
"""
import sys

import pyarrow.parquet as pq

file = pq.ParquetFile(sys.argv[1])
with pq.ParquetWriter(sys.argv[2], file.schema_arrow, compression="none") as out:
    for group in range(file.num_row_groups):
        out.write_table(file.read_row_group(group), row_group_size=file.metadata.row_group(group).num_rows)
