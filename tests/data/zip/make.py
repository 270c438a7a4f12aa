"""Writes python.zip, an archive as other tools make them (run with any Python 3; the result is checked in)."""

import io
import pathlib
import zipfile


class Pipe(io.RawIOBase):
    """Can't seek, so that sizes are written behind the data of a member."""

    def __init__(self):
        self.data = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.data += data
        return len(data)


def info(name, method):
    entry = zipfile.ZipInfo(name, (2026, 11, 1, 0, 0, 0))
    entry.compress_type = method
    return entry


pipe = Pipe()
with zipfile.ZipFile(pipe, "w") as archive:
    archive.writestr(info("stored.txt", zipfile.ZIP_STORED), b"stored as it is")
    archive.writestr(info("folder/", zipfile.ZIP_STORED), b"")
    archive.writestr(info("deflated.txt", zipfile.ZIP_DEFLATED), b"again and again, " * 100)
    with archive.open(info("streamed/é.bin", zipfile.ZIP_STORED), "w", force_zip64=True) as member:
        member.write(bytes([7]) * 100)
    archive.comment = b"a comment"
pathlib.Path(__file__).with_name("python.zip").write_bytes(pipe.data)
