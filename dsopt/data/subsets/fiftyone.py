"""The files that FiftyOne's importer of the type `FiftyOneDataset` reads beside the pictures: documents of its database."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from dsopt.files import join, write_bytes

VERSION = "1.0.0"  # of the documents: a later FiftyOne migrates them at import

_FIELDS, _LABEL = "fiftyone.core.fields.", "fiftyone.core.labels.Classification"


def write_documents(rows: pa.Table, files: Sequence[str], output: str, name: str, classes: list[str] | None) -> None:
    """Write samples.json and metadata.json: a sample for each row, the best first.

    Args:
        rows: as of `dsopt.data.subsets.subset.listed`.
        files: the picture of each row, relative to the output.
        name: of the data set, for FiftyOne.
        classes: the names of the labels, if they are known.
    """
    columns = rows.select(["id", "key", "label_name", "rank", "score", "reason"]).to_pylist()
    samples = [_sample(row, file) for row, file in zip(columns, files, strict=True)]
    samples.sort(key=lambda sample: -1 if sample["rank"] is None else sample["rank"])
    write_bytes(join(output, "samples.json"), json.dumps({"samples": samples}, ensure_ascii=False).encode())
    write_bytes(join(output, "metadata.json"), json.dumps(_dataset(name, classes), ensure_ascii=False, indent=1).encode())


def _sample(row: dict[str, Any], file: str) -> dict[str, Any]:
    digest = hashlib.blake2b(f"{row['id']} {file}".encode(), digest_size=12)
    label = {"_id": {"$oid": digest.hexdigest()}, "_cls": "Classification", "tags": [], "label": row["label_name"]}
    return {
        "filepath": file,
        "tags": [],
        "_media_type": "image",
        "_rand": int.from_bytes(digest.digest()[:6]) / 2**48,  # FiftyOne samples and shuffles by it
        "image_id": row["id"],  # `id` is FiftyOne's own
        "key": row["key"],
        "rank": row["rank"],
        "score": row["score"] if row["score"] == row["score"] else None,  # JSON has no NaN
        "reason": row["reason"],
        "ground_truth": label if row["label_name"] is not None else None,
    }


def _dataset(name: str, classes: list[str] | None) -> dict[str, Any]:
    """The document of the data set: its fields, those that every FiftyOne data set has first."""
    inner = [_field("id", "ObjectIdField", db_field="_id"), _texts("tags"), _field("label", "StringField")]
    inner += [_field("confidence", "FloatField"), _field("logits", "VectorField")]
    fields = [
        _field("id", "ObjectIdField", db_field="_id"),
        _field("filepath", "StringField"),
        _texts("tags"),
        _field("metadata", "EmbeddedDocumentField", embedded_doc_type="fiftyone.core.metadata.ImageMetadata"),
        _field("_media_type", "StringField"),
        _field("_rand", "FloatField"),
        _field("_dataset_id", "ObjectIdField"),
        _field("created_at", "DateTimeField", read_only=True),
        _field("last_modified_at", "DateTimeField", read_only=True),
        _field("image_id", "IntField"),
        _field("key", "StringField"),
        _field("rank", "IntField"),
        _field("score", "FloatField"),
        _field("reason", "StringField"),
        _field("ground_truth", "EmbeddedDocumentField", embedded_doc_type=_LABEL, fields=inner),
    ]
    about = {"version": VERSION, "name": name, "media_type": "image", "sample_fields": fields, "frame_fields": []}
    return about | {"classes": {"ground_truth": classes} if classes else {}, "default_classes": [], "tags": [], "info": {}}


def _field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    about = {"embedded_doc_type": None, "subfield": None, "fields": [], "description": None, "info": None, "read_only": False}
    return {"name": name, "ftype": _FIELDS + kind, "db_field": name} | about | more


def _texts(name: str) -> dict[str, Any]:
    return _field(name, "ListField", subfield=f"{_FIELDS}StringField")
