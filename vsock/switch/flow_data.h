/* SPDX-License-Identifier: Apache-2.0 */
/* What a flow's ends send and what of it waits: between flow.c and flow_data.c; see flow.h. */
#ifndef CAUSEWAY_VSOCK_SWITCH_FLOW_DATA_H
#define CAUSEWAY_VSOCK_SWITCH_FLOW_DATA_H

#include "vsock/switch/flow.h"

/* Works on constant ends, too. */
#define flow_other(end) (&(end)->flow->ends[(end) == &(end)->flow->ends[0]])

/* flow_finish - the flow is over, unless it was; who is told gets a reset */
void flow_finish(struct flow *flow, bool tell_asker, bool tell_other);
/* flow_wait_for_ends - all ends of @vm have been let go of; none can come any more */
void flow_wait_for_ends(struct vm *vm);

/* flow_credit.c */

/* flow_heard - what a header says of its sender's window; the other end gets on if it waits */
void flow_heard(struct vm *vm, struct flow_end *end, const struct virtio_vsock_header *header);
/* flow_may_send - @bytes bytes are within what @end's guest was told that it may send */
bool flow_may_send(const struct flow_end *end, uint32_t bytes);
/* flow_credit - how many bytes of @end the other guest allows yet */
uint32_t flow_credit(const struct flow_end *end);
/* flow_header - of a packet from @end's guest to the other, which is locked */
struct virtio_vsock_header flow_header(const struct flow_end *end, uint16_t op, uint32_t flags);
/* flow_told - @end's guest got a packet with that header of flow_header(); its VM is locked */
void flow_told(struct flow_end *end, const struct virtio_vsock_header *header);
/* flow_has_news - @end's guest was not told yet what it may be told of its credit */
bool flow_has_news(const struct flow_end *end);
/* flow_run_ahead - @end sent a packet of @bytes bytes: let it run ahead, and be told in time */
void flow_run_ahead(struct vm *vm, struct flow_end *end, uint32_t bytes);
/* flow_pass_credit - @end's guest has read: the other learns of it, now, in time or with data */
void flow_pass_credit(struct vm *vm, struct flow_end *end);
/* flow_release_credit - the other has learned of it */
void flow_release_credit(struct vm *vm, struct flow_end *end);
/* flow_stay - @end's guest is told no more, its promise is over */
void flow_stay(struct vm *vm, struct flow_end *end);

/* flow_data.c */

/* flow_owe - a packet without data for the other end: sent now, or when its turn comes */
void flow_owe(struct vm *vm, struct flow_end *end, enum flow_owed packet);
/* flow_data - a packet with data, which is allowed; see flow_packet() */
enum flow_verdict flow_data(struct vm *vm, struct flow_end *end,
			    const struct virtio_vsock_header *header,
			    struct delivery_source *source, uint16_t head);
/* flow_drop - forget what @end has not sent yet, its chains are returned */
void flow_drop(struct vm *vm, struct flow_end *end);

#endif
