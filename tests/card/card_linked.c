/* SPDX-License-Identifier: Apache-2.0 */
/* A program that needs a library which its client must send. */
#include <stdio.h>

int card_extra(void);

int main(void)
{
	printf("extra says %d\n", card_extra());
	return 0;
}
