/* SPDX-License-Identifier: Apache-2.0 */
/* Points in time as people write them; see when.h. */
#include "cli/when.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WHEN_LAST 253402300799 /* the end of the year 9999 */

/* day_begin - 0:00 of the day of @now, or of one @days later */
static time_t day_begin(time_t now, int days)
{
	struct tm parts;

	localtime_r(&now, &parts);
	parts.tm_mday += days;
	parts.tm_hour = parts.tm_min = parts.tm_sec = 0;
	parts.tm_isdst = -1;
	return mktime(&parts);
}

/* age_parse - "2h" as seconds, or -1 */
static int64_t age_parse(const char *text)
{
	static const struct {
		char unit;
		int64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };
	long long number;
	char *end;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno || number < 0 || number > WHEN_LAST || !*end || end[1])
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (*end == units[i].unit)
			return number > WHEN_LAST / units[i].seconds ? -1
								     : number * units[i].seconds;
	return -1;
}

/* date_parse - one of the forms of a date; 0 or -EINVAL */
static int date_parse(const char *text, time_t *when)
{
	static const char *const forms[] = { "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S",
					     "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct tm parts = { .tm_isdst = -1 }, asked;
		const char *end = strptime(text, forms[i], &parts);

		if (!end || *end)
			continue;
		asked = parts;
		parts.tm_isdst = -1;
		*when = mktime(&parts);
		/* mktime() takes 31 February for some day of March. */
		return parts.tm_mday == asked.tm_mday && parts.tm_mon == asked.tm_mon ? 0 : -EINVAL;
	}
	return -EINVAL;
}

int when_parse(const char *text, time_t now, time_t *when)
{
	int64_t age;
	char *end;

	if (!strcmp(text, "now")) {
		*when = now;
	} else if (!strcmp(text, "today")) {
		*when = day_begin(now, 0);
	} else if (!strcmp(text, "yesterday")) {
		*when = day_begin(now, -1);
	} else if (*text == '@' && isdigit((unsigned char)text[1])) {
		errno = 0;
		*when = strtoll(text + 1, &end, 10);
		return errno || *end || *when > WHEN_LAST ? -EINVAL : 0;
	} else if (isdigit((unsigned char)*text)) {
		age = age_parse(text);
		if (age < 0)
			return date_parse(text, when);
		*when = age < now ? now - age : 0;
	} else {
		return -EINVAL;
	}
	return 0;
}
