"""xl.cfg files: the syntax, what each setting may hold, and the one line that every mistake gets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paravane import Action, ExtraConsole, OnEnd, Vfb, Vif, parse_console
from paravane.devices.block import Disk
from paravane.devices.net import Rate, parse_rule
from paravane.grants import GrantLimits
from paravane.tlb import TlbKind, TlbSpec
from paravane.tools.config.domain import read_domain
from paravane.tools.config.syntax import DEEPEST, ConfigError, parse

LEAST = 'name = "it"\nkernel = "hello"\n'


def values(text: str) -> dict[str, object]:
    return {name: setting.value for name, setting in parse(text, "a.cfg").items()}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("\n \t\n# nothing\n;;\n", {}),
        ("a=1", {"a": "1"}),
        ("a = 1 ; b='x' # c\nc=\"y\";", {"a": "1", "b": "x", "c": "y"}),
        ("a = 1\r\nb = 2\r\n", {"a": "1", "b": "2"}),
        ("a = 0x1f", {"a": "0x1f"}),
        ("on_crash='a#b;c'", {"on_crash": "a#b;c"}),
        ("a.b_1 = 1", {"a.b_1": "1"}),
        ("a = []", {"a": []}),
        ("a = [\n\n'x' # one\n, 2,\n\n]", {"a": ["x", "2"]}),
        ("a = [ [1, ['b']], [] ]", {"a": [["1", ["b"]], []]}),
        ("a = 'x'\na += 'y'", {"a": "xy"}),
        ("a += 'y'", {"a": "y"}),
        ("a = ['x']\na += ['y', 'z',]", {"a": ["x", "y", "z"]}),
        ("a = 1\na = [2]", {"a": ["2"]}),
        (r"""a = 'it\'s \"\\ \n\t\x41\101'""", {"a": "it's \"\\ \n\tAA"}),
        ("a = 'b' # no end of line", {"a": "b"}),
    ],
)
def test_the_syntax_is_xls(text: str, found: dict[str, object]) -> None:
    assert values(text) == found


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("a 1", 1, "at `1`: `=` or `+=` is expected after a"),
        ("\n\na =", 3, "at the end of the file: a string in quotes, a number or a list is expected"),
        ("a =\n1", 1, "at the end of the line: a string in quotes"),
        ("a = b", 1, "at `b`: a string in quotes"),
        ("a = 1 b = 2", 1, "at `b`: a new line or `;` is expected after the value of a"),
        ("a = 'x\nb = 'y'", 1, "at `'`: this string does not end in its line"),
        ('a = "x', 1, 'at `"`: this string does not end in its line'),
        (r"a = '\q'", 1, r"there is no escape \q in strings"),
        ("A = 1", 1, "at `A`: this means nothing here"),
        ("import os", 1, "at `os`: `=` or `+=` is expected after import"),
        ("a = open('x')", 1, "at `(`: this means nothing here"),
        ("a = -1", 1, "at `-`: this means nothing here"),
        ("1 = a", 1, "at `1`: a name of lower-case letters is expected"),
        ("a = ['x' 'y']", 1, "at `'y'`: `,` or `]` is expected in a list"),
        ("a = [1,\n\n", 3, "at the end of the file"),
        ("a = [,]", 1, "at `,`: a string in quotes"),
        ("a = 'x'\na += [1]", 2, "a += adds a list to a text, or a text to a list"),
        ("a = " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), 1, f"lists are {DEEPEST} deep at most"),
        ("a = 1\x1b", 1, r"at `\x1b`: this means nothing here"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text: str, line: int, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.cfg")
    message = str(caught.value)
    assert message.startswith(f"a.cfg:{line}: ")
    assert sentence in message
    assert message.isprintable()


@given(st.text(alphabet="a=+[]',\"\\;#\n\r\t 01xf.é\x00(", max_size=60))
def test_any_text_has_settings_or_a_mistake(text: str) -> None:
    with suppress(ConfigError):
        assert all(name.isprintable() for name in parse(text, "a.cfg"))


def test_a_domain_has_xls_defaults() -> None:
    domain = read_domain(LEAST, "a.cfg")
    assert (domain.name, domain.kernel, domain.ramdisk, domain.cmdline) == ("it", "hello", None, None)
    assert (domain.memory, domain.max_memory, domain.vcpus, domain.max_vcpus) == (None,) * 4
    assert domain.on_end == OnEnd(
        poweroff=Action.DESTROY,
        reboot=Action.RESTART,
        crash=Action.DESTROY,
        watchdog=Action.DESTROY,
        soft_reset=Action.DESTROY,
    )
    assert (domain.cpu_weight, domain.cap, domain.seed, domain.max_event_channels) == (None,) * 4
    assert domain.grants == GrantLimits()
    assert domain.warnings == ()


def test_a_domain_has_what_its_file_says() -> None:
    domain = read_domain(
        LEAST
        + """
type = "pv"
memory = 0x40
maxmem = "0200"           # octal: 128
vcpus = 2
maxvcpus = 4
ramdisk = "/boot/initrd"
root = "/dev/xvda1 ro"
extra = "quiet"
on_poweroff = "preserve"
on_crash = "rename-restart"
cpu_weight = 512
cap = 50
seed = 7
max_event_channels = 64
max_grant_frames = 8
max_maptrack_frames = 0
max_grant_version = 1
""",
        "a.cfg",
    )
    assert (domain.memory, domain.max_memory) == (64 << 20, 128 << 20)
    assert (domain.vcpus, domain.max_vcpus) == (2, 4)
    assert (domain.ramdisk, domain.cmdline) == ("/boot/initrd", "root=/dev/xvda1 ro quiet")
    assert domain.on_end.poweroff is Action.PRESERVE
    assert domain.on_end.crash is Action.RENAME_RESTART
    assert (domain.cpu_weight, domain.cap, domain.seed, domain.max_event_channels) == (512, 50, 7, 64)
    assert domain.grants == GrantLimits(8, 0, 1)


def test_what_is_ignored_is_said() -> None:
    text = (
        LEAST + "memroy = 3\nusb = ['x']\ncmdline = 'a'\nextra = 'b'\nvif = ['']\ndisk = ['x,raw,xvda,w']\n"
    )
    assert read_domain(text, "a.cfg").warnings == (
        "a.cfg:3: memroy means nothing here and is ignored: did you mean memory?",
        "a.cfg:4: usb means nothing here and is ignored",
        "a.cfg:6: extra is ignored in favour of cmdline",
    )


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("kernel = 'hello'", 1, "the domain has no name"),
        ("name = 'x'", 1, "the domain has no kernel"),
        ("\nname = ''\nkernel='x'", 2, "the domain has no name"),
        (LEAST + "memory = 'much'", 3, "memory is no number: 'much'"),
        (LEAST + "memory = 12ff", 3, "memory is no number: '12ff'"),
        (LEAST + "memory = 09", 3, "memory is no number: '09'"),
        (LEAST + "memory = 0", 3, "memory is from 1 to 4095, not 0"),
        (LEAST + "memory = " + "9" * 5000, 3, "memory is no number: '9999999999"),
        (LEAST + "memory = [64]", 3, "memory is a list and should be one text"),
        (LEAST + "memory += 64", 3, "memory += is for texts and lists, not for numbers"),
        (LEAST + "memory = 64\nmaxmem = 32", 4, "32 MiB are less than its memory, 64 MiB"),
        (LEAST + "vcpus = 33", 3, "vcpus is from 1 to 32, not 33"),
        (LEAST + "vcpus = 4\nmaxvcpus = 2", 4, "2 are fewer than its 4 vcpus"),
        (LEAST + "cpu_weight = '-1'", 3, "cpu_weight is from 1 to 65535, not -1"),
        (
            LEAST + "on_crash = 'explode'",
            3,
            "'explode' is none of preserve, destroy, restart, rename-restart",
        ),
        (LEAST + "on_crash = 'coredump-restart'", 3, "coredump-restart: no core can be dumped"),
        (LEAST + "on_crash = 'coredump-'", 3, "'coredump-' is none of preserve, destroy"),
        (LEAST + "ramdisk = 'a\\x00b'", 3, "a string has no zero byte"),
        (LEAST + "type = 'hvm'", 3, "'hvm' domains cannot be run, only PV ones"),
        (LEAST + "builder = 'hvm'", 3, "'hvm' domains cannot be run, only PV ones"),
        (LEAST + "privileged = 2", 3, "privileged is from 0 to 1, not 2"),
        (LEAST + "disk = [['x']]", 3, "disk is a list of texts, without lists in it"),
        (LEAST + "disk = ['x,raw']", 3, "what does the guest call it"),
        (LEAST + "vif = ['colour=red']", 3, "colour=red is no setting of a network interface"),
        (LEAST + "vif = ['pcap=']", 3, "pcap= is followed by a file"),
        (LEAST + "vif = ['mac=01:00:5e:00:00:01']", 3, "no address that a network interface can have"),
        (LEAST + "vif = ['rate=fast']", 3, "'fast' is no rate"),
        (LEAST + "vfb = ['sdl=1']", 3, "there is no window (sdl) here"),
        (LEAST + "firewall = ['allow all']", 3, "a rule begins with accept, drop or rate="),
        (LEAST + "console = ['tcp:x']", 3, "tcp: is followed by a port"),
        (LEAST + "console = ['stdio', 'stdio']", 3, "two consoles cannot both be on standard input"),
        (LEAST + "channel = ['connection=pty']", 3, "it has no name, by which a guest finds it"),
        (LEAST + "tlb = 'both'", 3, "'both' is none of hardware, software, tagged"),
        (LEAST + "tlb = ['tagged']", 3, "tlb is a list and should be one text"),
        (LEAST + "tlb_entries = 8", 3, "is for a domain with tlb"),
        (LEAST + "tlb_ways = 8", 3, "is for a domain with tlb"),
        (LEAST + "tlb = 'tagged'\ntlb_entries = 0", 4, "tlb_entries is from 1 to 512, not 0"),
        (LEAST + "tlb = 'tagged'\ntlb_entries = 513", 4, "tlb_entries is from 1 to 512, not 513"),
        (LEAST + "tlb = 'tagged'\ntlb_ways = 'all'", 4, "tlb_ways is no number: 'all'"),
        (LEAST + "tlb = 'tagged'\ntlb_ways = 3", 3, "64 entries make no whole sets of 3"),
    ],
)
def test_a_bad_value_is_one_line_with_its_place(text: str, line: int, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_domain(text, "a.cfg")
    assert str(caught.value).startswith(f"a.cfg:{line}: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("", None),
        ("tlb = 'hardware'", TlbSpec(TlbKind.hardware, 64, 4)),
        ("tlb = 'software'\ntlb_entries = 12\ntlb_ways = 3", TlbSpec(TlbKind.software, 12, 3)),
        ("tlb_ways = 64\ntlb = 'tagged'", TlbSpec(TlbKind.tagged, 64, 64)),
    ],
)
def test_a_tlb_is_a_kind_and_its_size(text: str, spec: TlbSpec | None) -> None:
    domain = read_domain(LEAST + text, "a.cfg")
    assert (domain.tlb, domain.warnings) == (spec, ())


def test_disks_are_read_as_for_xl() -> None:
    domain = read_domain(LEAST + "disk = ['a.img,raw,xvda,w', 'phy:/dev/sdb,xvdb,r']", "a.cfg")
    assert domain.disks == (Disk("a.img", "xvda"), Disk("/dev/sdb", "xvdb", read_only=True))
    assert domain.warnings == ()


def test_consoles_are_told_by_a_list_and_by_channels_as_for_xl() -> None:
    domain = read_domain(
        LEAST
        + "console = ['pty', 'tcp:0']\nchannel = ['connection=socket, name=org.example.agent, path=/a']",
        "a.cfg",
    )
    assert domain.console == parse_console("pty")
    assert domain.extra_consoles == (
        ExtraConsole(1, parse_console("tcp:0")),
        ExtraConsole(2, parse_console("unix:/a"), "org.example.agent"),
    )
    assert domain.warnings == ()
    assert read_domain(LEAST, "a.cfg").console is None


def test_a_framebuffer_is_described_as_for_xl() -> None:
    text = "vfb = ['vnc=1, vnclisten=0.0.0.0, vncunused=0, vncdisplay=2, keymap=en-us', 'vnc=0']\n"
    domain = read_domain(LEAST + text, "a.cfg")
    assert domain.vfbs == (
        Vfb(listen="0.0.0.0", port=5902, find_unused=False),
        Vfb(vnc=False, number=1),
    )
    assert domain.warnings == ()


def test_a_network_interface_is_described_as_for_xl() -> None:
    rules = "firewall = ['drop out spoofed', 'accept in proto=tcp dport=80', 'drop in']"
    domain = read_domain(
        LEAST + f"vif = ['mac=00:16:3e:00:00:01, bridge=br0, script=vif-x', '', 'rate=1MB/s']\n{rules}",
        "a.cfg",
    )
    kept = tuple(map(parse_rule, ("drop out spoofed", "accept in proto=tcp dport=80", "drop in")))
    assert domain.vifs == (
        Vif(0, bytes.fromhex("00163e000001"), "br0", rules=kept),
        Vif(1, rules=kept),
        Vif(2, rate=Rate(50_000, 50_000), rules=kept),
    )
    assert domain.warnings == ()
