"""The pytest plugin, as its users meet it: each test here runs pytest in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.kernel_folders import HANGS, SAYS, says, write_folder

if TYPE_CHECKING:
    from pathlib import Path

CONFTEST = """
import paravane.testing.plugin as plugin

def pytest_addoption(parser, pluginmanager):
    if not pluginmanager.has_plugin("paravane"):
        pluginmanager.register(plugin, "paravane")
"""


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """Where pytest is run; Paravane may lie on the path without being installed."""
    pytester.makeconftest(CONFTEST)
    return pytester.path


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """The plugin comes from the conftest; loading those of others would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *arguments)


@pytest.mark.usefixtures("folder")
def test_what_a_kernel_did_can_be_asked(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        '''
        import pytest

        from paravane.testing import like

        SOURCE = """
            .include "runtime.inc"
            XEN_NOTES
            .text
        main:
            PRINT "one\\\\ntwo\\\\n"
            movl %eax, 0x10
        """

        def test_asked(boot):
            vm = boot(SOURCE, memory=8 << 20)
            assert vm.console == "one\\ntwo\\n"
            assert vm.console == like("o...\\n...\\n")
            assert vm.ended("crash")
            assert vm.traps[14][0].error_code == 2
            assert vm.hypercalls("event_channel_op")[0].result == 0

        def test_machine(machine):
            assert machine.run().reason.name == "DONE"

        @pytest.mark.paravane_machine(memory=16 << 20)
        def test_small_machine(machine):
            assert machine.platform.ram.size == 16 << 20
        '''
    )
    run(pytester, "--strict-markers").assert_outcomes(passed=3)


@pytest.mark.usefixtures("folder")
def test_what_several_kernels_did_side_by_side_can_be_asked_of_each(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        from paravane import Guest

        def test_pair(boot_together):
            ping, pong = boot_together(
                Guest("pingpong", cmdline="ping peer=2 balls=3", name="ping"),
                Guest("pingpong", cmdline="pong peer=1 balls=3"),
            )
            assert (ping.name, pong.name) == ("ping", "pingpong")
            assert ping.ended() and pong.ended()
            assert pong.console == "3 balls sent back\\n"
            assert ping.hypercalls("event_channel_op.alloc_unbound")
            assert pong.hypercalls("event_channel_op.bind_interdomain")
            assert not pong.hypercalls("event_channel_op.alloc_unbound")
            assert {{record.domid for record in ping.records}} == {{1}}
            assert {{record.domid for record in pong.records}} == {{2}}
            assert ping.audit == pong.audit == ()

        def test_hangs(boot_together):
            left, right = boot_together({SAYS!r}, Guest({HANGS!r}, name="spinner"), max_traps=500)
            assert left.ended("poweroff")
            assert right.ended("poweroff")
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["> *assert right.ended(*", "*where it was: spinner*"])


@pytest.mark.usefixtures("folder")
def test_a_failing_test_shows_the_difference_the_dump_and_the_trace(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        from paravane.testing import like

        def test_console(boot):
            vm = boot({SAYS!r})
            assert vm.console == "hallo\\n"

        def test_gaps(boot):
            vm = boot({SAYS!r})
            assert like("...\\nbye\\n") == vm.console

        def test_crash(boot):
            assert boot({says("movl %eax, 0x10")!r}).ended()

        def test_hang(boot):
            assert boot({HANGS!r}, max_traps=50).ended()
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "E * the console is not as wanted (- wanted, + printed)",
            "E * - hallo",
            "E * + hello",
            "*- last of the trace: guest -*",
            "*d1v0*domain*shut down: poweroff*",
            "E *hello",
            "E *- bye",
            "E * where False = ended()",
            "E * where ended = <guest: crash (domain 1 (guest) crashed: *",
            "*- crash dump: guest -*",
            "page walk of 0x00000010:",
            "E * where ended = <guest: the number of traps given was used up, console ''>.ended",
            "*- where it was: guest -*",
        ]
    )


@pytest.mark.usefixtures("folder")
def test_a_machine_is_shown_when_its_test_fails_and_closed_whatever_happens(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        f"""
        from paravane import DomainConfig, load_image
        from paravane.asm import assemble_text
        from paravane.asm.elf_writer import write_elf

        seen = []

        def test_first(machine):
            seen.append(machine)
            image = load_image(write_elf(assemble_text({HANGS!r})))
            machine.create(image, DomainConfig(name="mine"))
            machine.run(max_traps=50)
            assert not machine.domains

        def test_second():
            import pytest
            with pytest.raises(ValueError, match="closed"):
                seen[0].run()
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*- where it is: mine -*", "*- last of the trace: the machine -*"])


@pytest.mark.usefixtures("folder")
def test_a_test_that_is_over_keeps_nothing_of_its_guests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import gc, weakref

        seen = []

        def test_first(machine, boot):
            seen.append(weakref.ref(machine))
            seen.append(weakref.ref(boot))
            boot({SAYS!r})

        def test_second():
            gc.collect()
            assert [ref() for ref in seen] == [None, None]
        """
    )
    run(pytester).assert_outcomes(passed=2)


@pytest.mark.usefixtures("folder")
def test_a_hanging_kernel_has_a_time_limit(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nparavane_timeout = 0.01\n")
    pytester.makepyfile(f"def test_hang(boot):\n    assert boot({HANGS!r}).ended('timeout')\n")
    run(pytester).assert_outcomes(passed=1)
    pytester.makeini("[pytest]\nparavane_timeout = soon\n")
    result = run(pytester)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*paravane_timeout is 'soon', which is no positive number of seconds*"])


@pytest.mark.usefixtures("folder")
def test_a_kernel_in_c_is_skipped_without_a_compiler(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makefile(".c", kernel="int main(void) { return 0; }")
    pytester.makepyfile("def test_c(boot):\n    boot('kernel.c')\n")
    monkeypatch.setenv("PATH", "")
    result = run(pytester, "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *a kernel in C needs `as`, which is not on this machine"])


def test_folders_are_tests_by_themselves(folder: Path, pytester: pytest.Pytester) -> None:
    write_folder(folder / "good", SAYS, expected="hello\n")
    write_folder(folder / "bad", SAYS, expected="hallo\n")
    write_folder(folder / "skips", says(r'PRINT "no FPU\nTest result: SKIP\n"'))
    write_folder(folder / "wrong", "movl %eax\n", expected="")
    (folder / "others").mkdir()
    (folder / "others" / "kernel.toml").write_text("nothing = 'of ours'\n")
    result = run(pytester, "-v", "-rs")
    result.assert_outcomes(passed=1, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "bad/kernel.toml::bad?pv32pae? FAILED*",
            "good/kernel.toml::good?pv32pae? PASSED*",
            "FAILURE: its console is not as expected.txt has it:",
            "- hallo",
            "+ hello",
            "*- last of the trace: bad -*",
            "ERROR: *wrong.S:1:*",
            "SKIPPED *it says SKIP: no FPU",
        ]
    )
    result.stdout.no_fnmatch_line("*def runtest*")


def test_a_folder_with_a_mistake_is_told_in_a_sentence(folder: Path, pytester: pytest.Pytester) -> None:
    write_folder(folder / "good", SAYS, "memory_mb = 8", expected="hello\n")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*kernel.toml: there is no key `memory_mb`: did you mean `memory_mib`?"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_expectations_are_written_anew_in_parallel(folder: Path, pytester: pytest.Pytester) -> None:
    names = ("one", "two", "three")
    for name in names:
        write_folder(folder / name, says(rf'PRINT "{name}\n"'), expected="old\n")
    write_folder(folder / "crash", says("movl %eax, 0"), expected="old\n")
    write_folder(folder / "right", SAYS, expected="hello\n")
    result = run(pytester, "-p", "xdist", "-n", "2", "--paravane-update")
    result.assert_outcomes(passed=4, failed=1)
    told = ["*= expectations written anew =*", *(f"{name}/expected.txt" for name in sorted(names))]
    result.stdout.fnmatch_lines(told, consecutive=True)
    assert [(folder / name / "expected.txt").read_text() for name in names] == ["one\n", "two\n", "three\n"]
    assert (folder / "crash" / "expected.txt").read_text() == "old\n"
    run(pytester, "-p", "xdist", "-n", "2").assert_outcomes(passed=4, failed=1)


def test_the_plugin_costs_a_run_without_kernels_nothing(folder: Path, pytester: pytest.Pytester) -> None:
    (folder / "conftest.py").unlink()
    pytester.makepyfile(
        "import sys\nimport pytest\n\ndef test_nothing():\n"
        "    with pytest.raises(AssertionError):\n"
        "        assert 'a' == 'b'\n"
        "    assert 'paravane.testing.plugin' in sys.modules\n"
        "    assert not {'unicorn', 'paravane.machine', 'paravane.asm'} & sys.modules.keys()\n"
    )
    run(pytester, "-p", "paravane.testing.plugin").assert_outcomes(passed=1)
