"""Which files are images: by a known suffix, else by their first bytes."""

from concurrent.futures import ThreadPoolExecutor

from dsopt.data.sources.listing import Below, File, Skipped
from dsopt.files import join, read_range

_IMAGES = ".png .apng .jpg .jpeg .jpe .jfif .jif .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif"
_ARCHIVES = ".zip .tar .gz .tgz .bz2 .xz .7z .rar .zst"
_OTHERS = """
    .txt .csv .tsv .json .jsonl .ndjson .xml .yaml .yml .md .rst .html .htm .pdf .doc .docx .xls .xlsx .parquet .pq .arrow
    .feather .npy .npz .mat .h5 .hdf5 .pkl .pickle .pt .pth .safetensors .onnx .py .ipynb .sh .c .cpp .h .js .css .mp4 .avi
    .mov .mkv .webm .mp3 .wav .flac .log .db .sqlite .lock .toml .cfg .ini .names .data .lnk .url .torrent .sha256 .md5 .crc
    .bin .idx .rec .tfrecord .index
"""
_PICTURES = """
    .heic .heif .jxl .jp2 .j2k .jxr .psd .xcf .svg .eps .ps .ai .tga .ico .exr .hdr .pcx .dcm .nii .raw .dng .cr2
    .cr3 .crw .nef .nrw .arw .sr2 .srf .orf .rw2 .raf .pef .srw .3fr .fff .iiq .erf .kdc .dcr .mef .mos .x3f
"""
SUFFIXES = frozenset(_IMAGES.split())
ARCHIVES = frozenset(_ARCHIVES.split())
PICTURES = frozenset(_PICTURES.split())  # that are not read; many of cameras begin like TIFF, and hold a thumbnail
OTHERS = frozenset(_OTHERS.split())  # not images by their suffix alone, so that they are not opened
HEADER = 32  # bytes read of a file with an unknown suffix


def suffix(name: str) -> str:
    """The suffix of a file name in lower case, with its dot; "" if it has none."""
    stem, dot, last = name.rpartition("/")[2].rpartition(".")
    return f".{last.lower()}" if dot and stem and len(last) <= 8 and last.isalnum() and not last.isdigit() else ""


def is_image(header: bytes) -> bool:
    """Whether a file that begins with these bytes is an image of a format that PIL reads."""
    return (
        header.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (header[:4] == b"RIFF" and header[8:12] == b"WEBP")
        or (header[:2] == b"BM" and header[6:10] == b"\0\0\0\0")
        or (header[:1] == b"P" and header[1:2] in b"123456" and header[2:3] in (b" ", b"\n", b"\r", b"\t"))
        or header[4:12] in (b"ftypavif", b"ftypavis")
    )


def images(root: str, below: Below) -> tuple[list[File], list[Skipped]]:
    """The image files, and why others are none. Only files whose suffix is not known are opened."""
    found, unknown, skipped = [], [], list(below.skipped)
    for file in below.files:
        end = suffix(file.name)
        if end in SUFFIXES:
            found.append(file)
        elif end in ARCHIVES:
            skipped.append(Skipped(file.name, f"an archive ({end})"))
        elif end in PICTURES:
            skipped.append(Skipped(file.name, f"a kind of picture that is not read: convert it ({end})"))
        elif end in OTHERS:
            skipped.append(Skipped(file.name, f"not an image ({end})"))
        else:
            unknown.append(file)
    if unknown:
        with ThreadPoolExecutor(16) as pool:  # on an object store each is a request
            headers = pool.map(lambda file: _header(join(root, file.name)), unknown)
            for file, header in zip(unknown, headers, strict=True):
                if header is not None and is_image(header):
                    found.append(file)
                else:
                    end = suffix(file.name) or "no suffix"
                    skipped.append(Skipped(file.name, f"not an image ({end})" if header is not None else "not readable"))
    return sorted(found), skipped


def _header(uri: str) -> bytes | None:
    try:
        return read_range(uri, 0, HEADER)
    except (FileNotFoundError, PermissionError):
        return None
