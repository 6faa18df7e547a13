// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: a domain that writes rubbish into another one's rings. Loading it sends the messages
 * and fails, so that nothing stays loaded.
 *
 *	insmod argo_rubbish.ko domain=2 port=0x43570002 count=100
 */
#include <linux/module.h>
#include <linux/random.h>
#include <xen/interface/xen.h>
#include <asm/xen/hypercall.h>

#define RUBBISH_MAX 2048

static unsigned int domain, port, count;
module_param(domain, uint, 0);
module_param(port, uint, 0);
module_param(count, uint, 0);

static unsigned char rubbish[RUBBISH_MAX];

static int __init rubbish_init(void)
{
	struct {
		u32 port;
		u16 domain, pad;
	} addresses[2] = { { port, 0x7ff4, 0 }, { port, domain, 0 } };
	struct {
		u64 address;
		u32 bytes, pad;
	} iov = { (unsigned long)rubbish, 0, 0 };
	unsigned int sent = 0, i;

	for (i = 0; i < count; i++) {
		get_random_bytes(rubbish, sizeof(rubbish));
		iov.bytes = 1 + get_random_u32() % RUBBISH_MAX;
		/* The right type of message half of the time: then it gets as far as the frame. */
		if (privcmd_call(39, 3, (unsigned long)addresses, (unsigned long)&iov, 1,
				 i % 2 ? 0x43575953 : get_random_u32()) >= 0)
			sent++;
	}
	pr_info("argo_rubbish: %u messages sent\n", sent);
	return -ECANCELED;
}

module_init(rubbish_init);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Rubbish for vsock_argo's tests");
