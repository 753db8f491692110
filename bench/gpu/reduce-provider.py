"""Keeps the kernels of one architecture in a CUDA library. The others become zeros, which compress to nothing.

    python3 reduce-provider.py SOURCE TARGET [90]

Sizes and addresses do not change, so the rest of the file stays valid. A container of nv_fatbin is a header (magic
0xBA55ED50, version u16, header size u16, size of what follows u64) and entries (kind u16, version u16, header size u32,
size u64, …, architecture u32 at byte 28). Kept entries move to the front of their container, whose size shrinks.
"""

import shutil
import struct
import sys

MAGIC = 0xBA55ED50


def section(file, wanted):
    """Offset and size of a section of a 64-bit ELF file."""
    file.seek(0)
    header = file.read(64)
    if header[:5] != b"\x7fELF\x02":
        sys.exit(f"Expected a 64-bit ELF file, got {header[:5]!r}.")
    (table,) = struct.unpack_from("<Q", header, 0x28)
    count, names_index = struct.unpack_from("<HH", header, 0x3C)
    file.seek(table)
    raw = file.read(64 * count)
    entries = [struct.unpack_from("<IIQQQQ", raw, 64 * index) for index in range(count)]
    file.seek(entries[names_index][4])
    names = file.read(entries[names_index][5])
    for name, _, _, _, offset, size in entries:
        if names[name : names.index(b"\0", name)] == wanted:
            return offset, size
    sys.exit(f"Expected a section {wanted.decode()}, found none.")


def reduce(data, architecture):
    """Edits `data` in place. Returns the number of kept entries, the number of dropped ones, and the bytes of the kept."""
    kept = dropped = kept_bytes = position = 0
    while position + 16 <= len(data):
        magic, _, header_size, size = struct.unpack_from("<IHHQ", data, position)
        if magic != MAGIC:
            position += 8
            continue
        start = position + header_size
        end = start + size
        body = b""
        entry = start
        while entry < end:
            _, _, entry_header, entry_size = struct.unpack_from("<HHIQ", data, entry)
            (entry_architecture,) = struct.unpack_from("<I", data, entry + 28)
            if entry_architecture == architecture:
                body += bytes(data[entry : entry + entry_header + entry_size])
                kept += 1
            else:
                dropped += 1
            entry += entry_header + entry_size
        if entry != end:
            sys.exit(f"Expected the entries at {position} to end at {end}, got {entry}: this script does not know the layout.")
        data[start:end] = body + bytes(size - len(body))
        struct.pack_into("<Q", data, position + 8, len(body))
        kept_bytes += len(body)
        position = end
    return kept, dropped, kept_bytes


def main(source, target, architecture="90"):
    shutil.copyfile(source, target)
    with open(target, "r+b") as file:
        offset, size = section(file, b".nv_fatbin")
        file.seek(offset)
        data = bytearray(file.read(size))
        kept, dropped, kept_bytes = reduce(data, int(architecture))
        if kept == 0:
            sys.exit(f"Expected kernels for sm_{architecture}, found none.")
        file.seek(offset)
        file.write(data)
    print(f"sm_{architecture}: {kept} entries of {kept_bytes / 1e6:.1f} MB stay, {dropped} others are zeros now")


if __name__ == "__main__":
    main(*sys.argv[1:])
