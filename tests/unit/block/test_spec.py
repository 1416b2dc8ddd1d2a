"""Disks in one line of text, and what guests call them."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paravane.devices.block import Disk, disk_text, located, number_of, parse_disk


@pytest.mark.parametrize(
    ("text", "disk"),
    [
        ("disk.img,xvda", Disk("disk.img", "xvda")),
        (" disk.img , xvda1 , ro ", Disk("disk.img", "xvda1", read_only=True)),
        ("disk.img,xvda,cow", Disk("disk.img", "xvda", cow=True)),
        ("disk.img,xvda,cow=changes", Disk("disk.img", "xvda", cow=True, cow_file="changes")),
        ("ram:64M,xvdb", Disk(vdev="xvdb", memory=64 << 20)),
        ("ram:3,xvdb", Disk(vdev="xvdb", memory=3 << 20)),
        ("ram:1g,d2p3", Disk(vdev="d2p3", memory=1 << 30)),
        ("/d.img,raw,xvda,rw", Disk("/d.img", "xvda")),
        ("/d.img,,xvda,r", Disk("/d.img", "xvda", read_only=True)),
        ("/d.img,raw,xvda", Disk("/d.img", "xvda")),
        ("vdev=hda, access=ro, target=/a,b.img", Disk("/a,b.img", "hda", read_only=True)),
        ("raw, hda, ro, target=/a,b.img", Disk("/a,b.img", "hda", read_only=True)),
        ("phy:/dev/sda,xvda,w", Disk("/dev/sda", "xvda")),
        ("file:/d.img,xvdb,r", Disk("/d.img", "xvdb", read_only=True)),
        ("vdev=xvda,discard,target=/d", Disk("/d", "xvda")),
        ("/c.iso,,xvdc,cdrom", Disk("/c.iso", "xvdc", cdrom=True)),
        ("/c.iso,xvdc,devtype=cdrom", Disk("/c.iso", "xvdc", cdrom=True)),
        ("d.img,xvda,backendtype=qdisk,sector-size=4096", Disk("d.img", "xvda", sector_size=4096)),
    ],
)
def test_a_disk_is_described_as_for_xl_and_shorter(text: str, disk: Disk) -> None:
    assert parse_disk(text) == disk


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "what does the guest call it"),
        ("disk.img", "what does the guest call it"),
        ("phy:/dev/sda", "this is no phy:TARGET,VDEV,ACCESS"),
        ("/d,zip,xvda,w", "zip is none of raw"),
        ("/d,qcow2,xvda,w", "qcow2 disks cannot be read; `qemu-img convert -O raw`"),
        ("/d,empty,xvda,r", "empty disks cannot be read"),
        ("/d,raw,xvda,x", "access is r or w, not x"),
        ("/d,raw,xvda,w,more", "one word too many: more"),
        ("/d,xvda,colour=red", "there is no setting colour"),
        ("/d,xvda,backend=driver", "disks are in domain 0"),
        ("/d,xvda,devtype=tape", "devtype is disk or cdrom, not tape"),
        ("/d,xvda,sector-size=513", "a sector has 512 or 4096 bytes"),
        ("ram:0,xvda", "a disk is a file, or so many bytes of memory"),
        ("ram:999999999G,xvda", "a disk in memory has up to"),
        (",xvda", "a disk is a file, or so many bytes of memory"),
        ("/d,raw,floppy,w", "no disk can be called"),
        ("/d,xvda,ro,cow", "copy-on-write is for a disk"),
        ("/d,xvda,cow=", "cow= is followed by a file"),
        ("a\nb", "disk 'a"),
    ],
)
def test_a_disk_that_cannot_be_meant_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="disk ") as caught:
        parse_disk(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_disk_or_one_sentence(text: str) -> None:
    try:
        disk = parse_disk(text)
    except ValueError as error:
        refused = str(error)
    else:
        refused = "" if parse_disk(disk_text(disk)) == disk else "\n"
    assert refused.isprintable()


@pytest.mark.parametrize(
    "disk",
    [
        Disk("/a,b=c.img", "xvdz"),
        Disk("x", "sdb1", read_only=True, cdrom=True, sector_size=4096),
        Disk("x", cow=True),
        Disk("x", cow=True, cow_file="/y"),
        Disk(memory=5 << 10),
    ],
)
def test_a_disk_is_found_again_in_its_text(disk: Disk) -> None:
    assert parse_disk(disk_text(disk)) == disk


def test_files_are_put_where_they_are() -> None:
    disk = Disk("a.img", cow=True, cow_file="b")
    assert located(disk, lambda name: os.path.join("/there", name)).files == (
        located(disk, lambda name: f"/there/{name}").files
    )
    assert located(Disk(memory=512), os.path.abspath) == Disk(memory=512)


@pytest.mark.parametrize(
    ("vdev", "number"),
    [
        ("xvda", 51712),
        ("xvda1", 51713),
        ("xvdp15", 51967),
        ("xvdq", 0x10001000),
        ("xvdaa", 0x10001A00),
        ("xvda16", 0x10000010),
        ("d0", 51712),
        ("d1p2", 51730),
        ("d536p37", 0x10021825),
        ("hda", 768),
        ("hdb1", 833),
        ("hdc", 5632),
        ("sda", 2048),
        ("sdp15", 2303),
        ("51712", 51712),
        ("0xca00", 51712),
        ("0", 0),
    ],
)
def test_disks_have_the_numbers_of_xen_vbd_interface(vdev: str, number: int) -> None:
    assert number_of(vdev) == number


@pytest.mark.parametrize(
    "vdev",
    [
        "",
        "xvd",
        "xvda256",
        "hde",
        "hda64",
        "sdq",
        "sda16",
        "d1048576",
        "xvdaaaa",
        "-1",
        "1e3",
        "536870912",
        "ⅷ",
    ],
)
def test_names_that_no_disk_has(vdev: str) -> None:
    with pytest.raises(ValueError, match="no disk can be called"):
        number_of(vdev)
