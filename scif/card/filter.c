/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seccomp filter of programs on a card. Programs are arbitrary, so it names what is refused
 * (EPERM): whatever reaches beyond the sandbox's namespaces or opens much of the kernel to it, and
 * is of no use to a computation.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/socket.h>

#include "scif/card/sandbox.h"

static const int refused[] = {
	SCMP_SYS(acct),
	SCMP_SYS(add_key),
	SCMP_SYS(bpf),
	SCMP_SYS(chroot),
	SCMP_SYS(clock_adjtime),
	SCMP_SYS(clock_settime),
	SCMP_SYS(create_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(fanotify_init),
	SCMP_SYS(finit_module),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fsopen),
	SCMP_SYS(fspick),
	SCMP_SYS(init_module),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(ioperm),
	SCMP_SYS(iopl),
	SCMP_SYS(kcmp),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(kexec_load),
	SCMP_SYS(keyctl),
	SCMP_SYS(lookup_dcookie),
	SCMP_SYS(mount),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(move_mount),
	SCMP_SYS(name_to_handle_at),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(open_tree),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(personality),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(pivot_root),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(ptrace),
	SCMP_SYS(quotactl),
	SCMP_SYS(reboot),
	SCMP_SYS(request_key),
	SCMP_SYS(setdomainname),
	SCMP_SYS(sethostname),
	SCMP_SYS(setns),
	SCMP_SYS(settimeofday),
	SCMP_SYS(swapoff),
	SCMP_SYS(swapon),
	SCMP_SYS(syslog),
	SCMP_SYS(umount2),
	SCMP_SYS(unshare),
	SCMP_SYS(uselib),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(vhangup),
};

#define FILTER_NAMESPACES                                                                          \
	(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWUSER | \
	 CLONE_NEWCGROUP)

/* socket() for families that namespaces keep apart; the others, as vsock, reach the host. */
static int filter_sockets(scmp_filter_ctx filter)
{
	static const unsigned int allowed[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
	unsigned int family = 0;
	int status = 0;

	for (unsigned int i = 0; i < sizeof(allowed) / sizeof(*allowed) && status == 0; i++) {
		for (; family < allowed[i] && status == 0; family++)
			status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT),
						  SCMP_SYS(socket), 1,
						  SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, family));
		family = allowed[i] + 1;
	}
	if (status == 0)
		status = seccomp_rule_add(
			filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
			SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0)); /* clang wants both */
	return status;
}

int filter_load(bool may_choose_cores)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int status = filter ? 0 : -ENOMEM;

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused) && status == 0; i++)
		status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	if (status == 0 && !may_choose_cores)
		status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
					  SCMP_SYS(sched_setaffinity), 0);
	for (unsigned int bit = 0; bit < 31 && status == 0; bit++) {
		if (FILTER_NAMESPACES >> bit & 1)
			status = seccomp_rule_add(
				filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				SCMP_A0(SCMP_CMP_MASKED_EQ, 1ull << bit, 1ull << bit));
	}
	/* Its flags lie in memory, where no filter sees them: C libraries then take clone(). */
	if (status == 0)
		status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (status == 0)
		status = filter_sockets(filter);
	if (status == 0)
		status = seccomp_load(filter);
	seccomp_release(filter);
	return status;
}
