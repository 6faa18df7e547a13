/* SPDX-License-Identifier: Apache-2.0 */
/* File systems, modules and the channel of a guest's first process: see agent_setup.h. */
#include "testbed/agent_setup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clean.h"

#define CHANNEL_WAIT_MS	 60000 /* the host gives up before */
#define CHANNEL_RETRY_MS 2

#define TCP_PREFIX	  "tcp:"
#define NETWORK_INTERFACE "eth0"
#define NETWORK_MASK	  0xffffff00u

static const struct {
	const char *type, *path, *options;
} agent_mounts[] = {
	{ "devtmpfs", "/dev", "mode=0755" },
	{ "proc", "/proc", NULL },
	{ "sysfs", "/sys", NULL },
	{ "devpts", "/dev/pts", NULL },
	{ "tmpfs", "/dev/shm", "mode=1777" },
	{ "tmpfs", "/tmp", "mode=1777" },
	{ "tmpfs", "/run", "mode=0755" },
};

static int agent_setup_loopback(void)
{
	autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return -errno;
	return 0;
}

int agent_setup_system(struct error *error)
{
	for (size_t i = 0; i < sizeof(agent_mounts) / sizeof(agent_mounts[0]); i++) {
		mkdir(agent_mounts[i].path, 0755);
		if (mount(agent_mounts[i].type, agent_mounts[i].path, agent_mounts[i].type,
			  MS_NOSUID, agent_mounts[i].options) < 0)
			return error_set(error, -errno, "mount %s: %s", agent_mounts[i].path,
					 strerror(errno));
	}
	/* A kernel without IPv4 or another name is no reason to give up. */
	(void)agent_setup_loopback();
	(void)sethostname("guest", 5);
	return 0;
}

int agent_setup_modules(struct error *error)
{
	FILE *list = fopen(AGENT_MODULES_FILE, "re");
	char line[512];
	int code = 0;

	if (!list)
		return error_set(error, -errno, "%s: %s", AGENT_MODULES_FILE, strerror(errno));

	while (!code && fgets(line, sizeof(line), list)) {
		char *parameters;

		line[strcspn(line, "\n")] = '\0';
		parameters = line + strcspn(line, " ");
		if (*parameters)
			*parameters++ = '\0';

		autoclose int fd = open(line, O_RDONLY | O_CLOEXEC);

		if (fd < 0 || (syscall(SYS_finit_module, fd, parameters, 0) < 0 && errno != EEXIST))
			code = error_set(error, -errno, "module %s: %s", line, strerror(errno));
	}
	fclose(list);
	return code;
}

/* agent_setup_address - give the first network interface its address; 0 or -errno */
static int agent_setup_address(struct in_addr address)
{
	autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_addr = address };
	struct ifreq request = { .ifr_name = NETWORK_INTERFACE };

	if (fd < 0)
		return -errno;
	memcpy(&request.ifr_addr, &own, sizeof(own));
	if (ioctl(fd, SIOCSIFADDR, &request) < 0)
		return -errno;
	own.sin_addr.s_addr = htonl(NETWORK_MASK);
	memcpy(&request.ifr_netmask, &own, sizeof(own));
	if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
		return -errno;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* agent_setup_tcp - one attempt at the channel of OWN-ADDRESS:ADDRESS:PORT; fd, or -1 */
static int agent_setup_tcp(const char *text)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	char own[16], other[16];
	struct in_addr address;
	unsigned int port;
	int fd, on = 1;

	if (sscanf(text, "%15[0-9.]:%15[0-9.]:%u", own, other, &port) != 3 ||
	    inet_pton(AF_INET, own, &address) != 1 ||
	    inet_pton(AF_INET, other, &to.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	if (agent_setup_address(address) < 0)
		return -1;
	to.sin_port = htons((uint16_t)port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
		close(fd);
		return -1;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* A folder and those above it; 0 or -errno. @path is changed meanwhile. */
static int make_folders(char *path)
{
	for (char *slash = path; slash; *slash = '/') {
		slash = strchr(slash + 1, '/');
		if (slash)
			*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return -errno;
		if (!slash)
			break;
	}
	return 0;
}

int agent_setup_folders(struct error *error)
{
	FILE *list = fopen(AGENT_FOLDERS_FILE, "re");
	char line[512];
	int code = 0;

	if (!list)
		return 0;
	while (!code && fgets(line, sizeof(line), list)) {
		char *rest = line, *words[4];

		line[strcspn(line, "\n")] = '\0';
		for (int i = 0; i < 4; i++)
			words[i] = strsep(&rest, " ");
		if (!words[3])
			code = error_set(error, -EINVAL, "%s: a line has less than four words",
					 AGENT_FOLDERS_FILE);
		else if (make_folders(words[2]) < 0)
			code = error_set(error, -errno, "folder %s: %s", words[2], strerror(errno));
		else if (mount(words[1], words[2], words[0], MS_RDONLY | MS_NODEV, words[3]) < 0)
			code = error_set(error, -errno, "mount %s: %s", words[2], strerror(errno));
	}
	fclose(list);
	return code;
}

int agent_setup_channel(const char *path, struct error *error)
{
	const struct timespec pause = { .tv_nsec = CHANNEL_RETRY_MS * 1000000L };
	bool tcp = strncmp(path, TCP_PREFIX, strlen(TCP_PREFIX)) == 0;
	struct termios settings;
	int fd = -1;

	/* A virtio-serial port or a network appears some time after its driver. */
	for (int waited_ms = 0; fd < 0 && waited_ms < CHANNEL_WAIT_MS;
	     waited_ms += CHANNEL_RETRY_MS) {
		fd = tcp ? agent_setup_tcp(path + strlen(TCP_PREFIX))
			 : open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (fd < 0)
			nanosleep(&pause, NULL);
	}
	if (fd < 0)
		return error_set(error, -errno, "channel %s: %s", path, strerror(errno));

	if (isatty(fd) && tcgetattr(fd, &settings) == 0) {
		cfmakeraw(&settings);
		tcsetattr(fd, TCSANOW, &settings);
	}
	return fd;
}
