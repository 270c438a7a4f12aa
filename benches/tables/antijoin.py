#!/usr/bin/env python3
"""How many rows of each of two tables the other one has not, by DuckDB: antijoin.py OLD NEW"""
import sys

import duckdb

old, new = sys.argv[1:]
names = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{old}'").fetchall()]
same = ' AND '.join(f'a."{name}" IS NOT DISTINCT FROM b."{name}"' for name in names)
for one, other in ((old, new), (new, old)):
    print(duckdb.sql(f"SELECT count(*) FROM '{one}' a ANTI JOIN '{other}' b ON {same}").fetchall()[0][0])
