/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A five-point stencil over a square, in strips of rows, one for each MPI rank: each step exchanges
 * the strips' edges with the neighbours. The sum at the end does not depend on how many ranks
 * there are or where they run.
 *
 * usage: mpi_stencil SIZE STEPS       "ranks N sum S seconds T" of rank 0, "rank I on HOST" of each
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct strip {
	int size, rows, first; /* rows of this rank, without the edges of its neighbours */
	int above, below;      /* ranks, or MPI_PROC_NULL */
	double *now, *next;
};

static double *row(double *field, const struct strip *strip, int index)
{
	return field + (size_t)index * (size_t)strip->size;
}

static void exchange(struct strip *strip)
{
	MPI_Sendrecv(row(strip->now, strip, 1), strip->size, MPI_DOUBLE, strip->above, 1,
		     row(strip->now, strip, strip->rows + 1), strip->size, MPI_DOUBLE, strip->below,
		     1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	MPI_Sendrecv(row(strip->now, strip, strip->rows), strip->size, MPI_DOUBLE, strip->below, 2,
		     row(strip->now, strip, 0), strip->size, MPI_DOUBLE, strip->above, 2,
		     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

/* One step. Each cell is computed in the same order wherever it is, so results are the same too. */
static void step(struct strip *strip)
{
	double *old = strip->now;

	for (int i = 1; i <= strip->rows; i++) {
		const double *up = row(strip->now, strip, i - 1), *at = row(strip->now, strip, i);
		const double *down = row(strip->now, strip, i + 1);
		double *to = row(strip->next, strip, i);

		for (int j = 0; j < strip->size; j++) {
			double left = j ? at[j - 1] : 0;
			double right = j + 1 < strip->size ? at[j + 1] : 0;

			to[j] = at[j] / 2 + (up[j] + down[j] + left + right) / 8;
		}
	}
	strip->now = strip->next;
	strip->next = old;
}

static int open_strip(struct strip *strip, int size, int rank, int ranks)
{
	size_t cells;

	strip->size = size;
	strip->first = (int)((long)size * rank / ranks);
	strip->rows = (int)((long)size * (rank + 1) / ranks) - strip->first;
	strip->above = rank ? rank - 1 : MPI_PROC_NULL;
	strip->below = rank + 1 < ranks ? rank + 1 : MPI_PROC_NULL;
	cells = (size_t)(strip->rows + 2) * (size_t)size;
	strip->now = calloc(cells, sizeof(double));
	strip->next = calloc(cells, sizeof(double));
	for (int i = 1; strip->now && strip->next && i <= strip->rows; i++) {
		for (int j = 0; j < size; j++)
			row(strip->now, strip, i)[j] = (strip->first + i) * 31 % 97 + j % 13;
	}
	return strip->now && strip->next && strip->rows > 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	int size = argc == 3 ? atoi(argv[1]) : 0, steps = argc == 3 ? atoi(argv[2]) : 0;
	int rank, ranks, length;
	char host[MPI_MAX_PROCESSOR_NAME];
	double begin, sum = 0, total = 0;
	struct strip strip = { 0 };

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	if (size < ranks || size > 32768 || steps < 1 ||
	    open_strip(&strip, size, rank, ranks) < 0) {
		fprintf(stderr, "usage: mpi_stencil SIZE STEPS\n");
		MPI_Abort(MPI_COMM_WORLD, 64);
	}
	MPI_Get_processor_name(host, &length);
	printf("rank %d on %s\n", rank, host);
	fflush(stdout);
	begin = MPI_Wtime();
	for (int i = 0; i < steps; i++) {
		exchange(&strip);
		step(&strip);
	}
	for (int i = 1; i <= strip.rows; i++) {
		for (int j = 0; j < size; j++)
			sum += (double)(long)(row(strip.now, &strip, i)[j] * 1024);
	}
	MPI_Reduce(&sum, &total, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
	if (rank == 0)
		printf("ranks %d sum %.0f seconds %.3f\n", ranks, total, MPI_Wtime() - begin);
	free(strip.now);
	free(strip.next);
	MPI_Finalize();
	return 0;
}
