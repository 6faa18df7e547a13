/* SPDX-License-Identifier: Apache-2.0 */
/* A library that no card has. */
__attribute__((visibility("default"))) int card_extra(void);

int card_extra(void)
{
	return 42;
}
