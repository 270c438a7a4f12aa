#!/usr/bin/env python3
"""Makes small tables as each writer writes them, and what pyarrow tells of them, for tests/cut/parquet.rs.

Run with pyarrow, polars, duckdb, fastparquet, pandas and arro3-io (parquet-rs) installed:

    python tests/data/parquet/make.py tests/data/parquet
"""

import sys
from pathlib import Path

import arro3.io
import duckdb
import fastparquet
import polars
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 240


def table(rows=ROWS):
    words = [f"word {at * 7919 % 50}" for at in range(rows)]
    return pa.table({
        "id": pa.array(range(rows), pa.int64()),
        "word": pa.array(words),
        "score": pa.array([None if at % 7 == 0 else at / 3 for at in range(rows)], pa.float64()),
        "flag": pa.array([at % 3 == 0 for at in range(rows)]),
        "place": pa.array([{"x": at, "y": {"z": words[at]}} for at in range(rows)]),
        "tags": pa.array([words[at:at + at % 3] if at % 5 else None for at in range(rows)]),
    })


def flat(rows=ROWS):
    return table(rows).select(["id", "word", "score", "flag"])


def pyarrow_files(folder):
    write = lambda name, data, **options: pq.write_table(data, folder / f"pyarrow-{name}.parquet", **options)
    write("v1", table(), row_group_size=100, data_page_size=32, write_batch_size=16)
    write("v2", table(), row_group_size=100, data_page_size=32, write_batch_size=16, data_page_version="2.0",
          compression="zstd")
    write("plain", table(), compression="none", use_dictionary=False)
    write("index", flat(), write_page_index=True, data_page_size=32, write_batch_size=16, row_group_size=100,
          write_page_checksum=True, bloom_filter_options={"word": {"ndv": 50, "fpp": 0.1}})
    write("content", flat(), use_content_defined_chunking=True, compression="gzip")
    write("no-rows", table(0))
    write("no-columns", pa.table({}))
    write("named-oddly", pa.table({"/footer": [1], "a/dictionary": ["x"], "a": ["x"], "": ["x"], "b.c": [1]}))


def polars_files(folder):
    data = polars.from_arrow(table())
    data.write_parquet(folder / "polars.parquet", row_group_size=100, data_page_size=512)
    data.write_parquet(folder / "polars-lz4.parquet", compression="lz4")


def duckdb_files(folder):
    connection = duckdb.connect()
    connection.register("data", table())
    write = lambda name, options: connection.execute(
        f"COPY data TO '{folder}/duckdb-{name}.parquet' (FORMAT parquet, {options})")
    write("v1", "COMPRESSION snappy")
    write("v2", "PARQUET_VERSION v2, COMPRESSION zstd")


def fastparquet_files(folder):
    data = flat().to_pandas()
    data["word"] = data["word"].astype("category")
    fastparquet.write(f"{folder}/fastparquet.parquet", data, row_group_offsets=[0, 100, 200], compression="SNAPPY")
    fastparquet.write(f"{folder}/fastparquet-gzip.parquet", data, compression="GZIP")


def parquet_rs_files(folder):
    write = lambda name, **options: arro3.io.write_parquet(table(), folder / f"parquet-rs-{name}.parquet", **options)
    write("v1", max_row_group_size=100, data_page_row_count_limit=100, write_batch_size=50, compression="snappy")
    write("v2", max_row_group_size=100, data_page_row_count_limit=100, write_batch_size=50, compression="zstd(3)",
          writer_version="parquet_2_0")
    write("bloom", compression="lz4_raw", bloom_filter_enabled=True, bloom_filter_ndv=50)


def list_columns(folder):
    """columns.txt: file, path of a column, groups of rows, bytes of its chunks together."""
    lines = []
    for path in sorted(folder.glob("*.parquet")):
        metadata = pq.ParquetFile(path).metadata
        for column in range(metadata.num_columns):
            chunks = [metadata.row_group(group).column(column) for group in range(metadata.num_row_groups)]
            total = sum(chunk.total_compressed_size for chunk in chunks)
            lines.append(f"{path.stem}\t{metadata.schema.column(column).path}\t{len(chunks)}\t{total}\n")
    (folder / "columns.txt").write_text("".join(lines))


if __name__ == "__main__":
    for files in (pyarrow_files, polars_files, duckdb_files, fastparquet_files, parquet_rs_files):
        files(Path(sys.argv[1]))
    list_columns(Path(sys.argv[1]))
