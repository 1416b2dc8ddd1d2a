"""A vcpu_info that its guest moves: where it may go, what goes with it, and how long the frame is held."""

from __future__ import annotations

from paravane import DomainConfig, Machine, StopReason, load_image
from paravane.abi.errno import Errno
from tests.support.boot import HOST_TIMEOUT, kernel_image
from tests.support.vcpu_op import PRELUDE, lines

MOVES_ITS_INFO = """
main:
    call map_shared_info
    call mask_all_events
    movl $0x1234567, SHARED_CR2
    movl $info, %eax
    call va_to_mfn
    movl %eax, new
    movl $VCPU_INFO_sizeof - 1, new + VCPU_REGISTER_VCPU_INFO_offset
    notl new + VCPU_REGISTER_VCPU_INFO_offset
    SHOW register_vcpu_info, $0, $new
    movl $PAGE_SIZE - VCPU_INFO_sizeof + 4, new + VCPU_REGISTER_VCPU_INFO_offset
    SHOW register_vcpu_info, $0, $new
    movl $2, new + VCPU_REGISTER_VCPU_INFO_offset
    SHOW register_vcpu_info, $0, $new
    movl $64, new + VCPU_REGISTER_VCPU_INFO_offset
    movl $1, new + VCPU_REGISTER_VCPU_INFO_mfn + 4
    SHOW register_vcpu_info, $0, $new
    movl $0, new + VCPU_REGISTER_VCPU_INFO_mfn + 4
    SHOW register_vcpu_info, $0, $new
    SHOW register_vcpu_info, $0, $new
    PRINT_HEX info + 64 + VCPU_INFO_arch_cr2
    PRINT " mask "
    movzbl info + 64 + VCPU_INFO_evtchn_upcall_mask, %eax
    call print_dec
    PRINT " pending "
    movzbl info + 64 + VCPU_INFO_evtchn_upcall_pending, %eax
    call print_dec
    PRINT " "
    PRINT_HEX info + 64 + VCPU_INFO_evtchn_pending_sel
    PRINT "\\n"
    movl $FLAT_KERNEL_CS, %ebx
    movl $upcall, %ecx
    movl $FLAT_KERNEL_CS, %edx
    movl $upcall, %esi
    HYPERCALL set_callbacks
    movb $0, UPCALL_MASK                        # nobody looks there any more
    call yield
    PRINT "not yet\\n"
    movb $0, info + 64 + VCPU_INFO_evtchn_upcall_mask
    call yield
    ret
upcall:
    pushal
    PRINT "upcall, old mask "
    movzbl UPCALL_MASK, %eax
    call print_dec
    PRINT " new mask "
    movzbl info + 64 + VCPU_INFO_evtchn_upcall_mask, %eax
    call print_dec
    PRINT "\\n"
    movb $0, info + 64 + VCPU_INFO_evtchn_upcall_pending
    popal
    iret
    .bss
    .balign PAGE_SIZE
info: .skip PAGE_SIZE
    .data
    .balign 4
new: .skip VCPU_REGISTER_VCPU_INFO_sizeof
"""


def test_vcpu_info_moves_once_and_takes_its_contents_along() -> None:
    assert lines(MOVES_ITS_INFO) == [
        f"register_vcpu_info {-Errno.ENXIO}",
        f"register_vcpu_info {-Errno.ENXIO}",
        f"register_vcpu_info {-Errno.ENXIO}",
        f"register_vcpu_info {-Errno.EINVAL}",
        "register_vcpu_info 0",
        f"register_vcpu_info {-Errno.EINVAL}",
        "0x01234567 mask 1 pending 1 0xffffffff",
        "not yet",
        "upcall, old mask 0 new mask 1",
    ]


def test_a_vcpu_info_outlives_the_page_that_the_guest_gives_back() -> None:
    """The hypervisor keeps the frame for as long as it writes there, and no longer."""
    image = load_image(kernel_image(PRELUDE + GIVE_BACK))
    memory = 4 << 20
    with Machine(Machine.size_for(memory)) as machine:
        free = set[int]()
        for _ in range(3):
            domain = machine.create(image, DomainConfig(memory=memory))
            assert machine.run(timeout=HOST_TIMEOUT).reason is StopReason.DONE
            assert domain.console_output() == b"register_vcpu_info 0\nunmapped 0\ngiven back 1\nis_up 1\n"
            assert machine.audit() == []
            machine.destroy(domain)
            assert machine.audit() == []
            free.add(machine.platform.memory.nr_free)
        assert len(free) == 1


GIVE_BACK = """
main:
    movl $info, %eax
    call va_to_mfn
    movl %eax, new
    movl %eax, mfn
    SHOW register_vcpu_info, $0, $new
    PRINT "unmapped "
    movl $info, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $UVMF_INVLPG, %esi
    HYPERCALL update_va_mapping
    call print_result
    PRINT "\\ngiven back "
    movl $XENMEM_decrease_reservation, %ebx
    movl $reservation, %ecx
    HYPERCALL memory_op
    call print_result
    PRINT "\\n"
    call yield
    SHOW is_up
    ret
    .bss
    .balign PAGE_SIZE
info: .skip PAGE_SIZE
    .data
    .balign 4
new: .skip VCPU_REGISTER_VCPU_INFO_sizeof
mfn: .long 0
reservation: .long mfn, 1, 0, 0
    .word DOMID_SELF, 0
"""


def test_vcpu_info_does_not_move_onto_a_page_table() -> None:
    assert lines("""
main:
    movl start_info, %eax
    movl START_INFO_pt_base(%eax), %eax
    call va_to_mfn
    movl %eax, new
    SHOW register_vcpu_info, $0, $new
    ret
    .data
    .balign 4
new: .skip VCPU_REGISTER_VCPU_INFO_sizeof
""") == [f"register_vcpu_info {-Errno.EINVAL}"]
