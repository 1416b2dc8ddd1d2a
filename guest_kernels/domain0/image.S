# The kernel image in the ramdisk: an ELF file with Xen's notes (Xen public/elfnote.h) in its PT_NOTE segments.

    .include "domain0.inc"

    .globl image, virt_base, entry, hypercall_page_address, kernel_end

.equ ELF_ENTRY, 24
.equ ELF_PHOFF, 28
.equ ELF_PHENTSIZE, 42
.equ ELF_PHNUM, 44
.equ PHDR_OFFSET, 4
.equ PHDR_PADDR, 12
.equ PHDR_FILESZ, 16
.equ PHDR_MEMSZ, 20
.equ PT_LOAD, 1
.equ PT_NOTE, 4

    .bss
    .balign 4
image:                              # where the file is
    .skip 4
virt_base:                          # the address of the domain's pfn 0
    .skip 4
paddr_offset:                       # the physical address, as the file has it, of pfn 0
    .skip 4
entry:
    .skip 4
hypercall_page_address:
    .skip 4
kernel_end:                         # the pseudo-physical address after the kernel
    .skip 4

    .text
# Finds the image and reads its notes.
FUNCTION read_image
    movl start_info, %eax
    movl START_INFO_mod_start(%eax), %edx
    movl %edx, image
    cmpl $0, START_INFO_mod_len(%eax)
    je 1f
    cmpl $0x464C457F, (%edx)        # 0x7F "ELF"
    jne 1f
    movl ELF_ENTRY(%edx), %eax
    movl %eax, entry
    movl $PT_NOTE, %eax
    movl $read_notes, %edx
    jmp each_segment
1:  PANIC "there is no kernel in the ramdisk"

# Writes the segments into the domain's memory.
FUNCTION load_image
    movl $PT_LOAD, %eax
    movl $load_segment, %edx
    jmp each_segment

# EAX = type, EDX = function: calls it with EBX = program header for each segment of that type.
    .type each_segment, @function
each_segment:
    pushl %ebx
    pushl %esi
    pushl %edi
    pushl %ebp
    movl %eax, %esi
    movl %edx, %edi
    movl image, %ebx
    movzwl ELF_PHNUM(%ebx), %ebp
    addl ELF_PHOFF(%ebx), %ebx
1:  decl %ebp
    js 3f
    cmpl %esi, (%ebx)
    jne 2f
    call *%edi
2:  movl image, %eax
    movzwl ELF_PHENTSIZE(%eax), %eax
    addl %eax, %ebx
    jmp 1b
3:  popl %ebp
    popl %edi
    popl %esi
    popl %ebx
    ret

# EBX = program header of notes.
    .type read_notes, @function
read_notes:
    pushl %esi
    pushl %edi
    movl image, %esi
    addl PHDR_OFFSET(%ebx), %esi
    movl PHDR_FILESZ(%ebx), %edi
    addl %esi, %edi
1:  leal 12(%esi), %eax
    cmpl %edi, %eax
    ja 4f
    movl (%esi), %ecx               # length of the name
    addl $3, %ecx
    andl $~3, %ecx
    movl 4(%esi), %edx              # and of what it says
    addl $3, %edx
    andl $~3, %edx
    cmpl $0x006E6558, 12(%esi)      # "Xen"
    jne 3f
    leal 12(%esi,%ecx), %eax
    movl (%eax), %eax
    pushl %ecx
    movl 8(%esi), %ecx
    cmpl $XEN_ELFNOTE_VIRT_BASE, %ecx
    jne 5f
    movl %eax, virt_base
5:  cmpl $XEN_ELFNOTE_PADDR_OFFSET, %ecx
    jne 6f
    movl %eax, paddr_offset
6:  cmpl $XEN_ELFNOTE_ENTRY, %ecx
    jne 7f
    movl %eax, entry
7:  cmpl $XEN_ELFNOTE_HYPERCALL_PAGE, %ecx
    jne 8f
    movl %eax, hypercall_page_address
8:  popl %ecx
3:  leal 12(%esi,%ecx), %esi
    addl %edx, %esi
    jmp 1b
4:  popl %edi
    popl %esi
    ret

# EBX = program header of a segment.
    .type load_segment, @function
load_segment:
    movl PHDR_PADDR(%ebx), %eax
    subl paddr_offset, %eax
    movl PHDR_MEMSZ(%ebx), %edx
    addl %eax, %edx
    cmpl kernel_end, %edx
    jbe 1f
    movl %edx, kernel_end
1:  movl image, %edx
    addl PHDR_OFFSET(%ebx), %edx
    movl PHDR_FILESZ(%ebx), %ecx
    jmp store_guest
