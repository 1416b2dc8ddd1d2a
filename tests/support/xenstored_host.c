/*
 * What Xen and its kernel would give xenstored, from files in $XENSTORED_RUNDIR: a library to be loaded before
 * xenctrl, xenevtchn and xengnttab, so that xenstored runs where there is no Xen.
 *
 * port, ring-0   the event channel and the ring page of domain 0
 * ring-N         the ring page of domain N; a domain is there while its page is
 * events         a FIFO: each 32-bit number written to it is an event at that port; the port of domain N is N + 1
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int events = -1;

static int at(const char *name)
{
    char path[4096];
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");

    snprintf(path, sizeof(path), "%s/%s", getenv("XENSTORED_RUNDIR"), name);
    return real(path, O_RDWR);
}

int open(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    va_list list;
    mode_t mode;

    if (!strcmp(path, "/proc/xen/xsd_port") || !strcmp(path, "/dev/xen/xsd_port"))
        return at("port");
    if (!strcmp(path, "/proc/xen/xsd_kva") || !strcmp(path, "/dev/xen/xsd_kva"))
        return at("ring-0");
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
    return real(path, flags, mode);
}

static int ring(uint32_t domid)
{
    char name[32];

    snprintf(name, sizeof(name), "ring-%u", domid);
    return at(name);
}

void *xc_interface_open(void *logger, void *dombuild_logger, unsigned flags) { return &events; }
int xc_interface_close(void *handle) { return 0; }

/* The first word of xc_dominfo_t is the number of the domain; the flags after it say that it just runs. */
int xc_domain_getinfo(void *handle, uint32_t domid, unsigned max, uint32_t *info)
{
    int fd = ring(domid);

    if (fd < 0)
        return 0;
    close(fd);
    memset(info, 0, 64);
    info[0] = domid;
    return 1;
}

void *xengnttab_open(void *logger, unsigned flags) { return &events; }
int xengnttab_close(void *handle) { return 0; }
int xengnttab_set_max_grants(void *handle, uint32_t count) { return 0; }

void *xengnttab_map_grant_ref(void *handle, uint32_t domid, uint32_t ref, int prot)
{
    int fd = ring(domid);
    void *page;

    if (fd < 0)
        return NULL;
    page = mmap(NULL, 4096, prot, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

int xengnttab_unmap(void *handle, void *page, uint32_t count) { return munmap(page, 4096); }

void *xenevtchn_open(void *logger, unsigned flags)
{
    events = at("events");
    return &events;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned flags) { return xenevtchn_open(logger, flags); }
int xenevtchn_fd(void *handle) { return events; }
int xenevtchn_bind_virq(void *handle, unsigned virq) { return 4095; }
int xenevtchn_bind_interdomain(void *handle, uint32_t domid, uint32_t port) { return domid + 1; }
int xenevtchn_unbind(void *handle, uint32_t port) { return 0; }
int xenevtchn_notify(void *handle, uint32_t port) { return 0; }
int xenevtchn_unmask(void *handle, uint32_t port) { return 0; }

int xenevtchn_pending(void *handle)
{
    uint32_t port;

    return read(events, &port, sizeof(port)) == sizeof(port) ? (int)port : -1;
}
