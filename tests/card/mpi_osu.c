/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency and bandwidth between two MPI ranks, in the pattern of the OSU micro-benchmarks: half of
 * a ping-pong's round trip; and a window of messages one way, answered by a short one.
 *
 * usage: mpi_osu [LARGEST [REPEATS]]      lines "BYTES MICROSECONDS MB/S"
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 16

/* Microseconds of half a round trip. */
static double latency(char *buffer, int bytes, int repeats, int rank)
{
	double begin = MPI_Wtime();

	for (int i = 0; i < repeats; i++) {
		if (rank == 0)
			MPI_Send(buffer, bytes, MPI_CHAR, 1, 1, MPI_COMM_WORLD);
		MPI_Recv(buffer, bytes, MPI_CHAR, 1 - rank, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		if (rank == 1)
			MPI_Send(buffer, bytes, MPI_CHAR, 0, 1, MPI_COMM_WORLD);
	}
	return (MPI_Wtime() - begin) / repeats / 2 * 1e6;
}

/* Megabytes a second from rank 0 to rank 1. */
static double bandwidth(char *buffer, int bytes, int repeats, int rank)
{
	MPI_Request requests[WINDOW];
	MPI_Status statuses[WINDOW];
	double begin = MPI_Wtime();
	char done = 0;

	for (int i = 0; i < repeats; i++) {
		for (int j = 0; j < WINDOW; j++) {
			char *at = buffer + (size_t)j * (size_t)bytes;

			if (rank == 0)
				MPI_Isend(at, bytes, MPI_CHAR, 1, 2, MPI_COMM_WORLD, &requests[j]);
			else
				MPI_Irecv(at, bytes, MPI_CHAR, 0, 2, MPI_COMM_WORLD, &requests[j]);
		}
		MPI_Waitall(WINDOW, requests, statuses);
		if (rank == 0)
			MPI_Recv(&done, 1, MPI_CHAR, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		else
			MPI_Send(&done, 1, MPI_CHAR, 0, 3, MPI_COMM_WORLD);
	}
	return (double)bytes * WINDOW * repeats / (MPI_Wtime() - begin) / 1e6;
}

int main(int argc, char **argv)
{
	int largest = argc > 1 ? atoi(argv[1]) : 1 << 20, repeats = argc > 2 ? atoi(argv[2]) : 100;
	int rank, ranks;
	char *buffer;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	buffer = calloc(WINDOW, (size_t)largest);
	if (ranks != 2 || largest < 1 || repeats < 1 || !buffer) {
		fprintf(stderr, "mpi_osu: expected two ranks, and sizes above 0\n");
		MPI_Abort(MPI_COMM_WORLD, 64);
	}
	for (int bytes = 1; bytes <= largest; bytes *= 8) {
		double us, speed;

		latency(buffer, bytes, 5, rank);
		us = latency(buffer, bytes, repeats, rank);
		speed = bandwidth(buffer, bytes, repeats / 10 + 1, rank);
		if (rank == 0) {
			printf("%d %.2f %.2f\n", bytes, us, speed);
			fflush(stdout);
		}
	}
	free(buffer);
	MPI_Finalize();
	return 0;
}
