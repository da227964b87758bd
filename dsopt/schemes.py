"""The schemes of URIs: local paths and s3:// are read by pyarrow, every other scheme that fsspec knows by its package."""

import os
import re
from typing import Any

from dsopt.errors import InputError, first_line

# The package that fsspec needs for a scheme, for the message where it is missing.
PACKAGES = {
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
}
_SETTINGS = re.compile(r"[?&](access_key|secret_key|session_token|token|password|region|scheme|endpoint_override|allow_\w+)=")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def scheme(uri: str) -> str | None:
    """The scheme of a URI, such as "s3"; None for a path."""
    found = re.match(r"([a-z][a-z0-9+.-]*)://", uri)
    return found[1] if found else None


def by_fsspec(uri: str) -> bool:
    """Whether a URI is neither local nor on S3."""
    return scheme(uri) not in (None, "file", "s3")


def check(uri: str, rest: str) -> None:
    """Check a URI with a scheme; `rest` follows its "://".

    Raises:
        InputError: the scheme is not known, or the URI contains credentials or settings.
    """
    authority, kind = rest.partition("/")[0], scheme(uri)
    web, azure = kind in ("http", "https"), kind in ("az", "abfs", "abfss")
    # A secret may contain a slash; a web address may have a port and a query; container@account is Azure's way to name a place.
    secret = ("@" in authority and not azure) or (":" in authority and "@" in rest and not web)
    if secret or (_SETTINGS.search(rest) and not web):
        raise InputError("storage URI: must not contain credentials or settings; use AWS_ACCESS_KEY_ID and similar variables.")
    if kind == "s3":
        return
    if kind is not None:
        from fsspec.registry import known_implementations, registry  # fsspec is imported for these URIs only

        if kind in known_implementations or kind in registry:
            return
    raise InputError(
        f"{uri}: is neither a folder nor a URI of a known scheme; expected a folder, s3://bucket/prefix, gs://, az://, hf:// or https://."
    )


def system(uri: str) -> tuple[Any, str]:
    """The fsspec file system of a URI that is neither local nor on S3, and the path in it.

    Raises:
        InputError: its package is not installed, or it cannot be used.
    """
    import fsspec

    kind = scheme(uri)
    assert kind is not None
    try:
        found = fsspec.get_filesystem_class(kind)
        return fsspec.filesystem(kind, **found._get_kwargs_from_urls(uri)), found._strip_protocol(uri)
    except ImportError as error:
        package = PACKAGES.get(kind)
        needed = f"the package {package}, which is not installed (pip install {package})" if package else first_line(error)
        raise InputError(f"{uri}: {kind}:// needs {needed}.") from None
    except Exception as error:  # each package raises errors of its own, such as for missing credentials
        raise InputError(f"{uri}: {first_line(error)}") from None


def check_endpoint() -> None:
    """Check the endpoint of S3 in the environment: without a scheme, clients would wait for minutes. Raises InputError."""
    for name in _ENDPOINTS:
        endpoint = os.environ.get(name, "")
        if endpoint and not re.match(r"https?://[^/]", endpoint):
            shown = endpoint.rpartition("@")[2].rpartition("://")[2]
            raise InputError(f"{name}={shown}: does not begin with http:// or https://; expected for example http://{shown}.")
