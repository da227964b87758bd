"""What `select.drop` leaves out of a table of issues."""

import pyarrow as pa

from dsopt.audit.issues import ISSUES, counts, left_out


def table(*rows: tuple[int, str, int | None, str, str]) -> pa.Table:
    columns = zip(*((id, kind, 0.0, group, suggestion, split) for id, kind, group, suggestion, split in rows), strict=True)
    return pa.table([list(column) for column in columns], schema=ISSUES)


ROWS = table(
    (1, "exact_duplicates", 0, "keep", "train"),
    (2, "exact_duplicates", 0, "leave out", "train"),
    (3, "exact_duplicates", 0, "leave out", "train"),
    (8, "exact_duplicates", 1, "keep", "test"),
    (9, "exact_duplicates", 1, "leave out", "test"),
    (7, "leaks", 0, "keep", "test"),
    (4, "leaks", 0, "leave out", "train"),
    (1, "label_errors", None, "label: cat", "train"),
    (5, "label_errors", None, "label: dog", "train"),
)


def of(*kinds: str) -> dict[str, list[int]]:
    return {kind: ids.tolist() for kind, ids in left_out(ROWS, kinds).items()}


def test_one_of_each_group_stays() -> None:
    assert of("exact_duplicates") == {"exact_duplicates": [2, 3]}


def test_another_one_stays_if_the_first_is_left_out_for_another_reason() -> None:
    assert of("exact_duplicates", "label_errors") == {"exact_duplicates": [3], "label_errors": [1, 5]}


def test_leaks_lose_their_training_images_and_no_test_image_is_left_out() -> None:
    assert of("leaks") == {"leaks": [4]}


def test_nothing_found_and_nothing_asked() -> None:
    assert of("blank") == {"blank": []} and of() == {} and left_out(ISSUES.empty_table(), ["leaks"])["leaks"].size == 0


def test_counts_are_without_what_is_kept() -> None:
    assert counts(ROWS) == {"exact_duplicates": (2, 1, 2), "leaks": (1, 0, 1), "label_errors": (2, 0, 0)}
