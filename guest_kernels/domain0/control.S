# Requests to the hypervisor about another domain (Xen public/domctl.h).

    .include "domain0.inc"

    .bss
    .balign 8
domctl_op:
    .skip XEN_DOMCTL_u
domctl_part:                        # what depends on the command
    .skip XEN_DOMCTL_sizeof - XEN_DOMCTL_u
guest:                              # the number of the domain that is built
    .skip 4

    .text
# EAX = command, EDX = domain: a request with nothing but that.
FUNCTION domctl_prepare
    pushl %edi
    pushl %eax
    movl $domctl_op, %edi
    xorl %eax, %eax
    movl $XEN_DOMCTL_sizeof / 4, %ecx
    rep stosl
    popl %eax
    movl %eax, domctl_op + XEN_DOMCTL_cmd
    movl $XEN_DOMCTL_INTERFACE_VERSION, domctl_op + XEN_DOMCTL_interface_version
    movw %dx, domctl_op + XEN_DOMCTL_domain
    popl %edi
    ret

# Makes it. EAX = 0 or a negative errno.
FUNCTION domctl
    pushl %ebx
    movl $domctl_op, %ebx
    HYPERCALL domctl
    popl %ebx
    ret

# A domain with one vcpu, paused, without memory. It is 64 bits wide on a 64-bit hypervisor before it is told not
# to be.
FUNCTION create_guest
    movl $0, guest                  # any number
    DOMCTL createdomain
    movl $0x7A656E70, domctl_part + XEN_DOMCTL_CREATEDOMAIN_handle
    movl $1, domctl_part + XEN_DOMCTL_CREATEDOMAIN_max_vcpus
    movl $GUEST_PORTS, domctl_part + XEN_DOMCTL_CREATEDOMAIN_max_evtchn_port
    movl $-1, domctl_part + XEN_DOMCTL_CREATEDOMAIN_max_grant_frames
    movl $-1, domctl_part + XEN_DOMCTL_CREATEDOMAIN_max_maptrack_frames
    movl $1, domctl_part + XEN_DOMCTL_CREATEDOMAIN_grant_opts
    DOMCTL_MUST createdomain
    movzwl domctl_op + XEN_DOMCTL_domain, %eax
    movl %eax, guest
    DOMCTL set_address_size
    movl $32, domctl_part + XEN_DOMCTL_ADDRESS_SIZE_size
    DOMCTL_MUST set_address_size
    DOMCTL max_vcpus
    movl $1, domctl_part + XEN_DOMCTL_MAX_VCPUS_max
    DOMCTL_MUST max_vcpus
    DOMCTL max_mem
    movl $GUEST_MOST_KIB, domctl_part + XEN_DOMCTL_MAX_MEM_max_memkb
    DOMCTL_MUST max_mem
    DOMCTL getdomaininfo
    DOMCTL_MUST getdomaininfo
    movl domctl_part + XEN_DOMCTL_GETDOMAININFO_shared_info_frame, %eax
    movl %eax, guest_shared_info
    ret

# EAX = root table's mfn, EDX = entry point, ECX = address of start_info, with the boot stack's top on the stack
# after the return address: what the vcpu begins with.
FUNCTION set_guest_context
    pushl %edi
    pushl %eax
    pushl %edx
    pushl %ecx
    movl $context, %edi
    xorl %eax, %eax
    movl $VCPU_GUEST_CONTEXT_sizeof / 4, %ecx
    rep stosl
    popl context + VCPU_GUEST_CONTEXT_user_regs_esi
    popl context + VCPU_GUEST_CONTEXT_user_regs_eip
    popl %eax
    roll $12, %eax                  # a base pointer: the bits of an mfn above 4 GiB come last
    movl %eax, context + VCPU_GUEST_CONTEXT_ctrlreg + 12
    movl 8(%esp), %eax
    movl %eax, context + VCPU_GUEST_CONTEXT_user_regs_esp
    movl %eax, context + VCPU_GUEST_CONTEXT_kernel_sp
    movl $VGCF_in_kernel | VGCF_online, context + VCPU_GUEST_CONTEXT_flags
    movl $FLAT_KERNEL_SS, context + VCPU_GUEST_CONTEXT_kernel_ss
    movw $FLAT_KERNEL_CS, context + VCPU_GUEST_CONTEXT_user_regs_cs
    movl $FLAT_KERNEL_DS, %eax
    movw %ax, context + VCPU_GUEST_CONTEXT_user_regs_ss
    movw %ax, context + VCPU_GUEST_CONTEXT_user_regs_ds
    movw %ax, context + VCPU_GUEST_CONTEXT_user_regs_es
    movw %ax, context + VCPU_GUEST_CONTEXT_user_regs_fs
    movw %ax, context + VCPU_GUEST_CONTEXT_user_regs_gs
    DOMCTL setvcpucontext
    movl $context, domctl_part + XEN_DOMCTL_VCPUCONTEXT_ctxt
    DOMCTL_MUST setvcpucontext
    popl %edi
    ret

    .bss
    .balign 4
context:
    .skip VCPU_GUEST_CONTEXT_sizeof
