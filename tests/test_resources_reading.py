"""Reading: compression told by content, and an error that helps for each way a download goes wrong."""

import gzip
import io
import zipfile

import pytest

from causcade.errors import ResourceError
from causcade.resources.reading import first_line, iter_blocks, read_delimited, read_lines, read_text

TEXT = "a\tb\nNA\t1-2\n"


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # with no time of its own: tests are named by these bytes, alike in all processes
    return buffer.getvalue()


@pytest.mark.parametrize(
    "pack", [str.encode, lambda text: gzip.compress(text.encode()), lambda text: zipped({"x": text}), lambda text: text.encode("utf-8-sig")]
)
def test_plain_gzip_zip_and_byte_order_mark_read_alike(tmp_path, pack):
    path = tmp_path / "file"
    path.write_bytes(pack(TEXT))
    assert read_text(path, "trrust") == TEXT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b" \n", "found an empty file"),
        (gzip.compress(b"", mtime=0), "found an empty file"),
        (gzip.compress(TEXT.encode() * 500, mtime=0)[:-20], r"truncated or damaged .*Fetch it again"),
        (gzip.compress(TEXT.encode(), mtime=0)[:8], "truncated or damaged"),
        (zipped({"x": TEXT})[:40], "truncated or damaged"),
        (zipped({"one": TEXT, "two": TEXT}), r"expected a zip archive with one file, found 2 \(one, two\)"),
        (b"<!DOCTYPE html><html>moved</html>", r"found a web page .*Correct `resources.trrust.url`"),
        (b"caf\xe9", "expected text in UTF-8, found byte 0xe9 at 3"),
    ],
)
def test_a_damaged_file_is_told(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ResourceError, match=message) as caught:
        read_text(path, "trrust")
    assert str(caught.value).startswith(str(path))


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(ResourceError, match=r"nothing: expected the file of resource `trrust`, found none. Correct `resources.trrust.path`"):
        read_text(tmp_path / "nothing", "trrust")


def test_lines_of_either_end(tmp_path):
    (tmp_path / "file").write_bytes(b"A\r\n\r\nB \nC")
    assert read_lines(tmp_path / "file", "tfs") == ["A", "B ", "C"]


def test_values_stay_text(tmp_path):
    (tmp_path / "file").write_text(TEXT)
    table = read_delimited(tmp_path / "file", "trrust", separator="\t", expected=["a", "b"], remedy="Do.")
    assert table.to_numpy().tolist() == [["NA", "1-2"]]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "x\n", "a\n1\t2\t3\n"])
def test_other_columns_are_told(tmp_path, content):
    (tmp_path / "file").write_text(content)
    with pytest.raises(ResourceError, match=r"expected the columns a, b, found .*missing.*Do this\."):
        read_delimited(tmp_path / "file", "trrust", separator="\t", expected=["a", "b"], remedy="Do this.")


def test_a_line_that_is_cut_off_is_told(tmp_path):
    (tmp_path / "file").write_text("a\tb\n1\t2\n3")
    with pytest.raises(ResourceError, match="expected 2 fields in every line, found 1 in the last, line 3"):
        read_delimited(tmp_path / "file", "trrust", separator="\t", expected=["a", "b"], remedy="Do.")


def test_without_header_other_separators_are_told(tmp_path):
    (tmp_path / "file").write_text("1,2\n")
    with pytest.raises(ResourceError, match=r"expected the columns a, b, found 1 field\(s\) in the first line"):
        read_delimited(tmp_path / "file", "trrust", separator="\t", expected=["a", "b"], remedy="Do.", header=False)


def test_without_header_longer_lines_are_told(tmp_path):
    (tmp_path / "file").write_text("1\t2\n1\t2\t3\n")
    with pytest.raises(ResourceError, match=r"expected 2 columns in every line \(a, b\), found lines of other lengths"):
        read_delimited(tmp_path / "file", "trrust", separator="\t", expected=["a", "b"], remedy="Do.", header=False)


def test_optional_columns_do_not_stand_in_for_missing_ones(tmp_path):
    (tmp_path / "file").write_text("a\tx\ty\n1\t2\t3\n")
    with pytest.raises(ResourceError, match=r"expected the columns a, b, found a, x, y \(missing: b\)"):
        read_delimited(tmp_path / "file", "trrust", separator="\t", expected=["a", "b"], optional=["x", "y"], remedy="Use another.")


def test_a_table_without_header_has_as_many_fields_as_expected(tmp_path):
    (tmp_path / "file").write_text("1\t2\t3\n")
    with pytest.raises(ResourceError, match=r"expected the columns a, b, found 3 field\(s\) in the first line"):
        read_delimited(tmp_path / "file", "trrust", separator="\t", expected=["a", "b"], header=False, remedy="Use another.")


PACKINGS = [str.encode, lambda text: gzip.compress(text.encode()), lambda text: zipped({"x": text})]


@pytest.mark.parametrize("pack", PACKINGS)
@pytest.mark.parametrize("num_rows", [1, 2, 3, 10])
def test_blocks_of_any_size_give_the_same_rows(tmp_path, pack, num_rows):
    (tmp_path / "file").write_bytes(pack("NA\t1\r\nB\t\r\nC\t3\r\n"))
    blocks = list(iter_blocks(tmp_path / "file", "humap", columns=["a", "b"], separator="\t", num_rows=num_rows))
    assert [len(block) for block in blocks] == [min(num_rows, 3 - start) for start in range(0, 3, num_rows)]
    assert [row for block in blocks for row in block.to_numpy().tolist()] == [["NA", "1"], ["B", ""], ["C", "3"]]
    assert first_line(tmp_path / "file", "humap") == "NA\t1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty file"),
        (b"a\t1\t2\n", r"expected 2 fields in every line \(a, b\), found 3 in the first line"),
        (b"a\t1\nb\t2\t3\n", r"expected 2 fields in every line \(a, b\), found another form"),
        (gzip.compress(b"a\t1\n" * 1_000, mtime=0)[:-20], "truncated or damaged"),
    ],
)
def test_damaged_blocks_are_told(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ResourceError, match=message):
        list(iter_blocks(tmp_path / "file", "humap", columns=["a", "b"], separator="\t", num_rows=100))
    with pytest.raises(ResourceError, match=r"nothing: expected the file of resource `humap`, found none"):
        first_line(tmp_path / "nothing", "humap")
