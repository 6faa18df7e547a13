/* SPDX-License-Identifier: GPL-2.0-only */
/* What differs between the kernels that the module builds for (6.1 to 6.12). */
#ifndef CAUSEWAY_VSOCK_ARGO_COMPAT_H
#define CAUSEWAY_VSOCK_ARGO_COMPAT_H

#include <linux/uio.h>

#ifndef ARGO_HAVE_ITER_IOV	/* Kbuild looks into the kernel's headers */
static inline const struct iovec *iter_iov(const struct iov_iter *iter)
{
	return iter->iov;
}
#endif

#endif
