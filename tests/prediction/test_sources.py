"""What a user points at, found and given its place in the output tree."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from diorama.errors import DataError
from diorama.prediction.sources import camera_number, find_images


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def stems(source: str | Path, **options: Path) -> list[str]:
    return [str(item.stem) for item in find_images(source, **options)]


def test_a_folder_is_searched_with_its_subfolders_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.JPG", "b/1.png", "a/deep/x.webp", "top.tif", "notes.md", ".hidden.png", ".cache/y.png")
    assert stems(tmp_path) == ["a/deep/x", "b/1", "b/2", "top"]


def test_images_that_differ_in_suffix_only_keep_it(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "b.png", "sub/a.png", "C.png", "c.bmp")
    assert sorted(stems(tmp_path)) == ["C.png", "a.jpg", "a.png", "b", "c.bmp", "sub/a"]


def test_a_file_gives_its_own_stem(tmp_path: Path) -> None:
    touch(tmp_path, "room.one.jpeg")
    (item,) = find_images(tmp_path / "room.one.jpeg")
    assert (item.path, item.stem) == (tmp_path / "room.one.jpeg", PurePath("room.one"))


def test_a_list_keeps_its_order_and_is_relative_to_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "x/2.png", "x/1.png", "y/1.png")
    (tmp_path / "list.txt").write_text("x/2.png\n# a remark\n\nx/1.png\ny/1.png\n")
    assert stems(tmp_path / "list.txt") == ["x/2", "x/1", "y/1"]


def test_a_pattern_mirrors_the_tree_below_what_its_hits_share(tmp_path: Path) -> None:
    touch(tmp_path, "run1/left/0.png", "run1/right/0.png", "run2/left/0.png")
    assert stems(f"{tmp_path}/**/left/*.png") == ["run1/left/0", "run2/left/0"]


def test_a_link_keeps_its_place_in_the_tree(tmp_path: Path) -> None:
    touch(tmp_path, "store/real.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "linked.png").symlink_to(tmp_path / "store" / "real.png")
    assert stems(tmp_path / "photos") == ["linked"]


def test_an_output_folder_inside_the_source_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "results/a.semantic.png")
    assert stems(tmp_path, without=tmp_path / "results") == ["a"]
    with pytest.raises(DataError, match=r"every image lies in the output folder .* Choose another"):
        find_images(tmp_path / "results", without=tmp_path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.png", "no such file or folder"),
        ("scan.bin", r"no image kind. Give one of .*png"),
        ("empty", "no image in this folder"),
        ("empty/*.png", "matches no image"),
        ("empty.txt", "the list is empty"),
        ("binary.txt", "not a text file"),
        ("twice.txt", r"a\.png: listed 2 times"),
    ],
)
def test_what_cannot_be_predicted_on_says_what_to_do(tmp_path: Path, name: str, says: str) -> None:
    touch(tmp_path, "clip.mp4", "scan.bin", "a.png", "empty.txt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x80\x81")
    (tmp_path / "twice.txt").write_text("a.png\na.png\n")
    with pytest.raises(DataError, match=says) as error:
        find_images(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_address_is_not_opened() -> None:
    for source in ("https://example.org/room.jpg", Path("http://example.org/room.jpg"), "rtsp://camera/1"):
        with pytest.raises(DataError, match="Download the file"):
            find_images(source)


def test_videos_are_found_with_photos_and_refused_as_sparse_depth(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a.png", "c.MOV")
    (tmp_path / "list.txt").write_text("b.mp4\na.png\n")
    assert [(str(item.stem), item.is_video) for item in find_images(tmp_path)] == [("a", False), ("b", True), ("c", True)]
    assert stems(tmp_path / "list.txt") == ["b", "a"]
    with pytest.raises(DataError, match="a video, but the model takes sparse depth"):
        find_images(tmp_path / "b.mp4", kind="sparse_depth")


def test_a_camera_is_named_by_its_number_unless_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [camera_number(source) for source in (0, 2, "0", "1", "webcam", "webcam:3")] == [0, 2, 0, 1, 0, 3]
    assert {camera_number(source) for source in ("a", "", "1234", -1, True, "webcam:x", Path("0"))} == {None}
    touch(tmp_path, "1")
    assert camera_number("1") is None
