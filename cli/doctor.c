/* SPDX-License-Identifier: Apache-2.0 */
/*
 * causeway doctor: looks at a host or a guest, says what is missing and which command mends it.
 *
 * Everything is read from files below one root folder ("/", or a test's), nothing is changed and
 * nothing is executed. A check calls doctor_good() or doctor_lacks() once for each thing it looked
 * at. What a machine has no use for (SCIF without a device for it) is not looked at. What must fit
 * each other is in doctor_versions.c.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/doctor.h"
#include "lib/base/clean.h"
#include "lib/base/config.h"

#define DOCTOR_CONFIG	    "/etc/causeway/causeway.conf"
#define DOCTOR_DATE_LEAST   1735689600 /* 2025: an earlier clock was never set */
#define VIRTIO_VSOCK_ID	    0x13
#define VIRTIO_SCIF_ID	    0x2d
#define PCI_VENDOR_NVIDIA   0x10de
#define PROC_NET_TCP_LISTEN 0x0a

static const struct argp_option options[] = {
	{ "root", 'r', "FOLDER", 0, "look at the machine whose files lie below FOLDER", 0 },
	{ "host", 'H', NULL, 0, "look for what a host needs", 0 },
	{ "guest", 'G', NULL, 0, "look for what a guest needs", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct doctor *doctor = state->input;

	switch (key) {
	case 'r':
		doctor->root = strcmp(argument, "/") ? argument : "";
		break;
	case 'H':
		doctor->role = ROLE_HOST;
		break;
	case 'G':
		doctor->role = ROLE_GUEST;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Say what this host or guest lacks, and the command that mends it.\v"
	       "Without --host and --guest, a machine with " DOCTOR_CONFIG " is a host. The exit "
	       "status is 0 when nothing is missing, else 1.",
};

void doctor_good(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	printf("ok      ");
	vprintf(format, list);
	printf("\n");
	va_end(list);
}

void doctor_lacks(struct doctor *doctor, const char *mend, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	printf("missing ");
	vprintf(format, list);
	printf("\n        mend: %s\n", mend);
	va_end(list);
	doctor->lacking++;
}

bool doctor_there(const struct doctor *doctor, const char *path, struct stat *status)
{
	char whole[PATH_MAX];
	struct stat own;

	snprintf(whole, sizeof(whole), "%s%s", doctor->root, path);
	return stat(whole, status ? status : &own) == 0;
}

size_t doctor_contents(const char *whole, char *text, size_t bytes)
{
	FILE *file = fopen(whole, "re");
	size_t got = 0;

	if (file) {
		got = fread(text, 1, bytes - 1, file);
		fclose(file);
	}
	text[got] = 0;
	return got;
}

/* Whether a file that matches @pattern begins with the number @wanted. */
static bool doctor_any_number(const struct doctor *doctor, const char *pattern,
			      unsigned long wanted)
{
	char whole[PATH_MAX], text[64];
	glob_t found;
	bool is = false;

	snprintf(whole, sizeof(whole), "%s%s", doctor->root, pattern);
	if (glob(whole, 0, NULL, &found))
		return false;
	for (size_t i = 0; i < found.gl_pathc && !is; i++)
		is = doctor_contents(found.gl_pathv[i], text, sizeof(text)) &&
		     strtoul(text, NULL, 0) == wanted;
	globfree(&found);
	return is;
}

bool doctor_any_file(const struct doctor *doctor, const char *pattern)
{
	char whole[PATH_MAX];
	glob_t found;

	snprintf(whole, sizeof(whole), "%s%s", doctor->root, pattern);
	if (glob(whole, 0, NULL, &found))
		return false;
	globfree(&found);
	return true;
}

/* check_clock - a time source that is fast to read, and a date that was set */
static void check_clock(struct doctor *doctor)
{
	char whole[PATH_MAX], text[64];

	snprintf(whole, sizeof(whole),
		 "%s/sys/devices/system/clocksource/clocksource0/current_clocksource",
		 doctor->root);
	doctor_contents(whole, text, sizeof(text));
	text[strcspn(text, "\n")] = 0;
	if (!strcmp(text, "hpet") || !strcmp(text, "acpi_pm") || !strcmp(text, "jiffies"))
		doctor_lacks(doctor,
			     "echo tsc > "
			     "/sys/devices/system/clocksource/clocksource0/current_clocksource",
			     "a fast clock: the kernel reads %s, which each wait pays for", text);
	else if (*text)
		doctor_good("clock source %s", text);
	if (!*doctor->root && time(NULL) < DOCTOR_DATE_LEAST)
		doctor_lacks(doctor, "timedatectl set-ntp true",
			     "the date: the clock was never set");
}

/* check_gpu - the driver's library, and the device files that its workers open */
static void check_gpu(struct doctor *doctor, const char *driver)
{
	static const char *const folders[] = { DOCTOR_LIBRARIES, "/usr/lib64", "/lib64",
					       "/usr/local/lib" };
	bool gpu = doctor_any_number(doctor, "/sys/bus/pci/devices/*/vendor", PCI_VENDOR_NVIDIA);
	bool found = *driver == '/' && doctor_there(doctor, driver, NULL);
	struct stat status;

	for (size_t i = 0; *driver != '/' && i < sizeof(folders) / sizeof(*folders); i++) {
		char path[PATH_MAX];

		snprintf(path, sizeof(path), "%s/%s", folders[i], driver);
		found |= doctor_there(doctor, path, NULL);
	}
	if (found)
		doctor_good("CUDA driver %s", driver);
	else
		doctor_lacks(doctor,
			     gpu ? "apt-get install libcuda1"
				 : "sed -i 's|driver = .*|driver = \"" DOCTOR_LIBRARIES
				   "/causeway/softgpu/libcuda.so.1\";|' " DOCTOR_CONFIG
				   " && systemctl restart causeway-cudad",
			     "the CUDA driver %s%s", driver,
			     gpu ? "" : ", and no NVIDIA GPU; the software GPU is there for that");
	if (!gpu)
		return;
	if (!doctor_there(doctor, "/dev/nvidiactl", &status))
		doctor_lacks(doctor, "modprobe nvidia && nvidia-modprobe -c 0 -u",
			     "/dev/nvidiactl: the GPU's kernel module is not loaded");
	else if ((status.st_mode & 06) != 06)
		doctor_lacks(doctor, "chmod a+rw /dev/nvidia*",
			     "permission on /dev/nvidiactl for the user causeway (mode %04o)",
			     status.st_mode & 07777);
	else
		doctor_good("/dev/nvidiactl");
}

/* The port of "HOST:PORT", 0 for none. */
static unsigned int port_of(const char *address)
{
	const char *colon = address ? strrchr(address, ':') : NULL;

	return colon && *address != '/' ? (unsigned int)strtoul(colon + 1, NULL, 10) : 0;
}

/* check_port - that no other program listens where a daemon that is down is going to */
static void check_port(struct doctor *doctor, const char *address, bool daemon_up)
{
	unsigned int port = port_of(address), local, state;
	autofree char *text = malloc(DOCTOR_FILE_BYTES);
	char whole[PATH_MAX], mend[64], *line, *rest;

	if (!port || daemon_up || !text)
		return;
	snprintf(whole, sizeof(whole), "%s/proc/net/tcp", doctor->root);
	doctor_contents(whole, text, DOCTOR_FILE_BYTES);
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, " %*[^:]: %*[0-9A-F]:%x %*[0-9A-F:] %x", &local, &state) != 2 ||
		    local != port || state != PROC_NET_TCP_LISTEN)
			continue;
		snprintf(mend, sizeof(mend), "ss -ltnp sport = :%u   # ends with its owner", port);
		doctor_lacks(doctor, mend, "port %u of %s: another program listens there", port,
			     DOCTOR_CONFIG);
		return;
	}
	doctor_good("port %u is free", port);
}

/* check_daemons - sockets that the daemons make when they run, the ports of those that do not */
static void check_daemons(struct doctor *doctor, struct config *config)
{
	static const struct {
		const char *section, *control, *mend;
	} daemons[] = {
		{ "cuda", "/run/causeway/cuda.sock.control", "systemctl start causeway-cudad" },
		{ "switch", "/run/causeway/switch.control", "systemctl start causeway-switch" },
		{ "scif", "/run/causeway/scif.control", "systemctl start causeway-scifd" },
	};

	for (size_t i = 0; i < sizeof(daemons) / sizeof(*daemons); i++) {
		config_setting_t *section = config_section(config, daemons[i].section);
		const char *tcp = NULL, *metrics = NULL;
		bool up = doctor_there(doctor, daemons[i].control, NULL);

		if (!section)
			continue;
		if (up)
			doctor_good("%s", daemons[i].control);
		else
			doctor_lacks(doctor, daemons[i].mend, "%s: the daemon does not run",
				     daemons[i].control);
		config_setting_lookup_string(section, "tcp", &tcp);
		config_setting_lookup_string(section, "metrics", &metrics);
		check_port(doctor, tcp, up);
		check_port(doctor, metrics, up);
	}
}

/* check_memory - that running QEMUs with a device of ours share their memory */
static void check_memory(struct doctor *doctor)
{
	autofree char *text = malloc(DOCTOR_FILE_BYTES);
	char whole[PATH_MAX];
	glob_t found;

	snprintf(whole, sizeof(whole), "%s/proc/[0-9]*/cmdline", doctor->root);
	if (!text || glob(whole, 0, NULL, &found))
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		size_t bytes = doctor_contents(found.gl_pathv[i], text, DOCTOR_FILE_BYTES);

		for (size_t at = 0; at < bytes; at++) {
			if (!text[at])
				text[at] = ' ';
		}
		if (!strstr(text, "qemu-system") || !strstr(text, "vhost-user"))
			continue;
		if (strstr(text, "share=on"))
			doctor_good("%s: memory is shared",
				    found.gl_pathv[i] + strlen(doctor->root));
		else
			doctor_lacks(doctor,
				     "start it with -machine memory-backend=m -object "
				     "memory-backend-memfd,id=m,size=SIZE,share=on",
				     "shared memory of the QEMU in %s",
				     found.gl_pathv[i] + strlen(doctor->root));
	}
	globfree(&found);
}

/* check_user - the daemons' user and its folder */
static void check_user(struct doctor *doctor)
{
	autofree char *text = malloc(DOCTOR_FILE_BYTES);
	char whole[PATH_MAX];

	snprintf(whole, sizeof(whole), "%s/etc/passwd", doctor->root);
	if (!text)
		return;
	doctor_contents(whole, text, DOCTOR_FILE_BYTES);
	if (strncmp(text, "causeway:", 9) && !strstr(text, "\ncauseway:"))
		doctor_lacks(doctor, "systemd-sysusers causeway.conf", "the user causeway");
	else
		doctor_good("user causeway");
	if (!doctor_there(doctor, "/run/causeway", NULL))
		doctor_lacks(doctor, "systemd-tmpfiles --create causeway.conf", "/run/causeway");
	else
		doctor_good("/run/causeway");
}

/* workers_have_users - whether some tenant's workers run as another user than the daemon's */
static bool workers_have_users(struct config *config)
{
	config_setting_t *cuda = config_section(config, "cuda");
	config_setting_t *tenants = config_section(config, "tenants");

	if (cuda && config_setting_get_member(cuda, "worker_users"))
		return true;
	for (int i = 0; tenants && i < config_setting_length(tenants); i++) {
		config_setting_t *tenant = config_setting_get_elem(tenants, i);

		if (config_setting_is_group(tenant) && config_setting_get_member(tenant, "user"))
			return true;
	}
	return false;
}

/* check_worker_users - that the service may become the users that the configuration names */
static void check_worker_users(struct doctor *doctor, struct config *config)
{
	static const char folder[] = "/etc/systemd/system/causeway-cudad.service.d";
	autofree char *text = malloc(DOCTOR_FILE_BYTES);
	char whole[PATH_MAX];
	bool may = false;
	glob_t found;

	if (!text || !workers_have_users(config))
		return;
	snprintf(whole, sizeof(whole), "%s%s/*.conf", doctor->root, folder);
	if (!glob(whole, 0, NULL, &found)) {
		for (size_t i = 0; i < found.gl_pathc && !may; i++) {
			doctor_contents(found.gl_pathv[i], text, DOCTOR_FILE_BYTES);
			may = strstr(text, "\nAmbientCapabilities=CAP_SETUID") ||
			      strstr(text, "\nUser=root");
		}
		globfree(&found);
	}
	if (may)
		doctor_good("workers of other users");
	else
		doctor_lacks(doctor,
			     "install -D -m 644 /usr/share/causeway/worker-users.conf "
			     "/etc/systemd/system/causeway-cudad.service.d/worker-users.conf && "
			     "systemctl daemon-reload && systemctl restart causeway-cudad",
			     "the right to run workers as other users, as %s says", DOCTOR_CONFIG);
}

static void check_host(struct doctor *doctor)
{
	struct config config;
	struct error error = { 0 };
	char whole[PATH_MAX];
	const char *driver = "libcuda.so.1";

	if (!doctor_there(doctor, "/dev/kvm", NULL))
		doctor_lacks(doctor,
			     "modprobe kvm_amd || modprobe kvm_intel   # or switch it on in the "
			     "firmware",
			     "/dev/kvm: virtual machines are slow without");
	else
		doctor_good("/dev/kvm");
	check_user(doctor);
	check_memory(doctor);
	snprintf(whole, sizeof(whole), "%s%s", doctor->root, DOCTOR_CONFIG);
	if (config_load(&config, whole, &error) < 0) {
		doctor_lacks(
			doctor,
			"apt-get install --reinstall -o Dpkg::Options::=--force-confmiss causeway",
			"a configuration that can be read: %s", error.text);
		return;
	}
	doctor_good("%s", DOCTOR_CONFIG);
	if (config_section(&config, "cuda"))
		config_setting_lookup_string(config_section(&config, "cuda"), "driver", &driver);
	check_gpu(doctor, driver);
	check_daemons(doctor, &config);
	check_worker_users(doctor, &config);
	config_close(&config);
}

/* check_module - a module's device file; the module, where it is installed, else its package */
static void check_module(struct doctor *doctor, const char *device, const char *module, bool ours)
{
	char pattern[128], mend[128];
	struct stat status;

	snprintf(pattern, sizeof(pattern), "/lib/modules/*/updates/dkms/%s.ko*", module);
	snprintf(mend, sizeof(mend), "%smodprobe %s",
		 ours && !doctor_any_file(doctor, pattern) ? "apt-get install causeway-dkms && "
							   : "",
		 module);
	if (!doctor_there(doctor, device, &status)) {
		doctor_lacks(doctor, mend, "%s: module %s is not loaded", device, module);
	} else if ((status.st_mode & 06) != 06) {
		snprintf(mend, sizeof(mend), "chmod a+rw %s", device);
		doctor_lacks(doctor, mend, "permission on %s (mode %04o)", device,
			     status.st_mode & 07777);
	} else {
		doctor_good("%s", device);
	}
}

static void check_guest(struct doctor *doctor)
{
	char whole[PATH_MAX], text[64];
	bool xen;

	snprintf(whole, sizeof(whole), "%s/sys/hypervisor/type", doctor->root);
	doctor_contents(whole, text, sizeof(text));
	xen = !strncmp(text, "xen", 3);
	if (xen) {
		check_module(doctor, "/dev/vsock", "vsock_argo", true);
	} else if (!doctor_any_number(doctor, "/sys/bus/virtio/devices/*/device",
				      VIRTIO_VSOCK_ID)) {
		doctor_lacks(doctor,
			     "causeway vm add NAME --cid N --socket PATH   # on the host; see "
			     "causeway-switch(8) for the VMM's options",
			     "a virtio socket device in this VM");
	} else {
		doctor_good("virtio socket device");
		check_module(doctor, "/dev/vsock", "vmw_vsock_virtio_transport", false);
	}
	if (doctor_any_number(doctor, "/sys/bus/virtio/devices/*/device", VIRTIO_SCIF_ID))
		check_module(doctor, "/dev/scif", "vphi", true);
	if (doctor_there(doctor, DOCTOR_LIBRARIES "/causeway/libcuda.so.1", NULL))
		doctor_good("CUDA client " DOCTOR_LIBRARIES "/causeway/libcuda.so.1");
	else
		doctor_lacks(doctor, "apt-get install causeway-guest", "the CUDA client's library");
	if (doctor_there(doctor, "/usr/bin/causeway-cudad", NULL))
		doctor_lacks(
			doctor, "apt-get remove causeway",
			"a guest without the host's daemons, which have nothing to serve here");
}

int cli_doctor(int argc, char **argv)
{
	struct doctor doctor = { .root = "" };
	struct stat status;

	argp_parse(&argp, argc, argv, 0, NULL, &doctor);
	if (*doctor.root && (stat(doctor.root, &status) < 0 || !S_ISDIR(status.st_mode))) {
		fprintf(stderr, "causeway doctor: --root is '%s': expected a folder\n",
			doctor.root);
		return CLI_USAGE_STATUS;
	}
	if (doctor.role == ROLE_ASK)
		doctor.role = doctor_there(&doctor, DOCTOR_CONFIG, NULL) ? ROLE_HOST : ROLE_GUEST;
	printf("causeway %s, looking at a %s\n", CAUSEWAY_VERSION,
	       doctor.role == ROLE_HOST ? "host" : "guest");
	if (doctor.role == ROLE_HOST)
		check_host(&doctor);
	else
		check_guest(&doctor);
	doctor_versions(&doctor);
	check_clock(&doctor);
	if (doctor.lacking)
		printf("%u missing\n", doctor.lacking);
	else
		printf("nothing is missing\n");
	return doctor.lacking ? 1 : 0;
}
