/* SPDX-License-Identifier: Apache-2.0 */
/* What the switch tells about itself: VMs and flows, for status, top and metrics. */
#include <stdio.h>
#include <string.h>

#include "lib/metrics/report.h"
#include "vsock/switch/capture_file.h"
#include "vsock/switch/control.h"
#include "vsock/switch/vm.h"

#define REPORT_FLOWS_MAX 4096 /* further ones are counted, not shown */
#define COUNT(array)	 (sizeof(array) / sizeof(*(array)))

static const struct report_column summary_columns[] = {
	{ "vms", REPORT_GAUGE, "", "VMs that are served" },
	{ "flows", REPORT_GAUGE, "", "connections that are open" },
	{ "rules", REPORT_GAUGE, "", "rules that are configured" },
	{ "captured", REPORT_COUNTER, "", "packets of the capture" },
	{ "capture_lost", REPORT_COUNTER, "", "packets that did not fit into the capture" },
};

static const struct report_column vm_columns[] = {
	{ "vm", REPORT_LABEL, "", "its name" },
	{ "cid", REPORT_LABEL, "", "the guest's context id" },
	{ "groups", REPORT_TEXT, "", "groups it is in" },
	{ "vmm", REPORT_TEXT, "", "whether its VMM is attached" },
	{ "attached", REPORT_GAUGE, "", "1 while its VMM is attached" },
	{ "flows", REPORT_GAUGE, "", "connections that it has" },
	{ "sent", REPORT_COUNTER, "bytes", "what the guest sent" },
	{ "received", REPORT_COUNTER, "bytes", "what the guest received" },
	{ "packets_sent", REPORT_COUNTER, "", "packets the guest sent" },
	{ "packets_received", REPORT_COUNTER, "", "packets the guest received" },
	{ "opened", REPORT_COUNTER, "", "connections asked for, by it or of it" },
	{ "refused", REPORT_COUNTER, "", "of these, those that were refused" },
	{ "stalls", REPORT_COUNTER, "", "a flow began to wait for its receiver's buffers" },
	{ "waits", REPORT_COUNTER, "", "a stream began to wait for its host program" },
	{ "limited", REPORT_COUNTER, "", "the bandwidth limit held the guest back" },
	{ "sleeps", REPORT_COUNTER, "", "its thread went to sleep" },
};

static const struct report_column flow_columns[] = {
	{ "vm", REPORT_LABEL, "", "the VM" },
	{ "port", REPORT_LABEL, "", "its port" },
	{ "peer_cid", REPORT_LABEL, "", "the other side; 2 is the host" },
	{ "peer_port", REPORT_LABEL, "", "the other side's port" },
	{ "state", REPORT_TEXT, "", "of the connection" },
	{ "sent", REPORT_COUNTER, "bytes", "what the VM sent" },
	{ "received", REPORT_COUNTER, "bytes", "what the VM received" },
	{ "stalls", REPORT_COUNTER, "", "what it sends began to wait" },
};

/* A report in the making. */
struct report {
	const struct settings *settings;
	json_t *vms, *flows; /* rows; flows NULL: not wanted */
	const struct vm *vm; /* the one at hand */
	unsigned int vm_flows, all_flows;
};

static void report_flow(const struct vm_flow *flow, void *context)
{
	struct report *report = context;

	report->vm_flows++;
	/* A flow between guests is seen at both; the one with the smaller cid shows it. */
	if (flow->peer_cid > VIRTIO_VSOCK_CID_HOST && flow->peer_cid < report->vm->own.cid)
		return;
	report->all_flows++;
	if (!report->flows || json_array_size(report->flows) >= REPORT_FLOWS_MAX)
		return;
	json_array_append_new(
		report->flows,
		json_pack("[s, I, I, I, s, I, I, I]", report->vm->own.name, (json_int_t)flow->port,
			  (json_int_t)flow->peer_cid, (json_int_t)flow->peer_port, flow->state,
			  (json_int_t)flow->sent.bytes, (json_int_t)flow->received.bytes,
			  (json_int_t)flow->stalls));
}

/* "a b", or the default group's name. */
static void report_groups(const struct settings *settings, const char *name, char *text,
			  size_t bytes)
{
	const struct settings_vm *own = settings_find_vm((struct settings *)settings, name);
	size_t used = 0;

	snprintf(text, bytes, "%s", SETTINGS_GROUP_DEFAULT);
	for (unsigned int i = 0; own && i < own->group_count && used < bytes; i++)
		used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? " " : "",
					 own->groups[i]);
}

static void report_vm(struct vm *vm, void *context)
{
	const struct counters_vm *counters = &vm->counters;
	struct report *report = context;
	char groups[SETTINGS_GROUPS_MAX * SETTINGS_GROUP_BYTES];
	bool attached;

	report->vm = vm;
	report->vm_flows = 0;
	vm_flow_each(vm, report_flow, report);
	report_groups(report->settings, vm->own.name, groups, sizeof(groups));
	vm_lock(vm);
	attached = vm->device.socket_fd >= 0;
	vm_unlock(vm);
	json_array_append_new(
		report->vms,
		json_pack("[s, I, s, s, i, i, I, I, I, I, I, I, I, I, I, I]", vm->own.name,
			  (json_int_t)vm->own.cid, groups, attached ? "attached" : "-", attached,
			  (int)report->vm_flows, (json_int_t)counter_read(&counters->sent.bytes),
			  (json_int_t)counter_read(&counters->received.bytes),
			  (json_int_t)counter_read(&counters->sent.packets),
			  (json_int_t)counter_read(&counters->received.packets),
			  (json_int_t)counter_read(&counters->opened),
			  (json_int_t)counter_read(&counters->refused),
			  (json_int_t)counter_read(&counters->stalls),
			  (json_int_t)counter_read(&counters->waits),
			  (json_int_t)counter_read(&counters->limited),
			  (json_int_t)counter_read(&counters->sleeps)));
}

json_t *report_switch(const struct control *control, bool flows)
{
	struct vsock_switch *sw = control->sw;
	struct report report = { .settings = sw->settings };
	json_t *whole = report_new("causeway-switch", control->since), *summary;
	uint64_t taken, lost;

	summary = report_add_table(whole, "", true, summary_columns, COUNT(summary_columns));
	report.vms = report_add_table(whole, "vm", true, vm_columns, COUNT(vm_columns));
	if (flows)
		report.flows =
			report_add_table(whole, "flow", false, flow_columns, COUNT(flow_columns));
	switch_vm_each(sw, report_vm, &report);
	capture_file_count(&taken, &lost);
	json_array_append_new(summary,
			      json_pack("[i, i, i, I, I]", (int)json_array_size(report.vms),
					(int)report.all_flows, (int)sw->settings->rule_count,
					(json_int_t)taken, (json_int_t)lost));
	report_add_process(whole);
	return whole;
}
