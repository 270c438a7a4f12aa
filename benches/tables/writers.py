#!/usr/bin/env python3
"""Write a real table as one writer writes it, with each of its codecs: writers.py WRITER TABLE OUT_DIR

Gives OUT_DIR/WRITER-CODEC-NAME.parquet, NAME being that of the table's directory. WRITER is pyarrow, pyarrow-v2, pandas, polars,
duckdb, fastparquet, datasets or parquet-rs; all but for the codec is as the writer has it by default. pyarrow@VERSION is pyarrow, and
the caller has to see to the version.
"""
import os
import sys

import pyarrow
import pyarrow.parquet

writer, path, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
table = pyarrow.parquet.read_table(path)
name = os.path.basename(os.path.dirname(path))


def to(codec):
    codec = codec.split("(")[0].split("_")[0].lower().replace("uncompressed", "none")
    return f"{out}/{writer}-{codec}-{name}.parquet"


def flat():
    """Without columns of lists, which fastparquet does not write."""
    lists = [field.name for field in table.schema if pyarrow.types.is_nested(field.type)]
    return table.drop_columns(lists).to_pandas()


match writer.split("@")[0]:
    case "pyarrow" | "pyarrow-v2":
        version = "2.0" if writer == "pyarrow-v2" else "1.0"
        for codec in ("snappy", "zstd", "gzip", "lz4", "brotli", "none"):
            pyarrow.parquet.write_table(table, to(codec), compression=codec, data_page_version=version)
    case "pandas":
        data = table.to_pandas()
        for codec in ("snappy", "zstd", "gzip", "lz4"):
            data.to_parquet(to(codec), compression=codec)
    case "datasets":
        import datasets

        datasets.disable_progress_bars()
        datasets.Dataset(table).to_parquet(to("snappy"))
    case "polars":
        import polars

        data = polars.from_arrow(table)
        for codec in ("snappy", "zstd", "gzip", "lz4", "brotli", "uncompressed"):
            data.write_parquet(to(codec), compression=codec)
    case "duckdb":
        import duckdb

        connection = duckdb.connect()
        connection.register("data", table)
        for codec in ("snappy", "zstd", "gzip", "lz4_raw", "brotli", "uncompressed"):
            connection.execute(f"COPY data TO '{to(codec)}' (FORMAT parquet, COMPRESSION {codec})")
    case "fastparquet":
        import fastparquet

        for codec in ("SNAPPY", "GZIP", "ZSTD", "LZ4_RAW", "BROTLI", "UNCOMPRESSED"):
            fastparquet.write(to(codec), flat(), compression=codec)
    case "parquet-rs":
        import arro3.io

        for codec in ("snappy", "zstd(1)", "gzip(6)", "lz4_raw", "brotli(1)", "uncompressed"):
            arro3.io.write_parquet(table, to(codec), compression=codec)
