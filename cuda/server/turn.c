/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns on the worker's side. See proto/share-page.h for what is said to the supervisor.
 *
 * Measuring. Work is cut into batches; a batch has an event before its first piece and one behind
 * its last, on its stream. A monitor thread waits for the later one and takes the time between the
 * two, less what an earlier batch on another stream has been charged for already. Every kind of
 * work (a kernel, a fill) has an estimate, the running mean of what was measured. Until it was
 * measured SEEN_ENOUGH times (the first launch of a kernel often has next to nothing to do) it
 * counts as unknown: its batch is closed at once, and it is alone in a bounded turn.
 *
 * An event costs a GPU some 3 us between two kernels. So a batch that follows another on its stream
 * without a pause begins with that one's last event, and batches are long while much is queued. A
 * batch is closed early only where the device may soon have nothing more to do: an event behind a
 * pause would measure the pause.
 *
 * Queueing ahead. Never more than AHEAD_NS of estimated work is with the driver while others want
 * the device. While nobody else does, a long piece may come behind another up to ALONE_NS, so that
 * the device has no gap between them: that is what a newcomer may have to wait for. Whoever waits
 * for room then looks himself for what is done (batches_reap()), since the monitor's waking up
 * takes a device some 0.1 ms.
 *
 * Work that waits for work. A kernel may wait for what the program gives the device later. So work
 * passes that waits for its own client's work, once that is overdue for a time. Where the device
 * gets on at once then, that was it, and the time becomes shorter; otherwise the kernel is merely
 * long, and it becomes longer. Within a bounded turn it doubles with each piece that passes: a
 * program of kernels whose lengths nobody can foretell would keep the device for ever, with always
 * another one passed before the last is done.
 *
 * Alone. While nobody else wants the device and nobody waits for room, nothing hangs on when a
 * batch is measured. Then the monitor only looks now and then, and does not let the driver wake it:
 * an interrupt and two threads in the driver at a time cost a program of short, awaited calls a
 * tenth of its time. What is open for long is closed where the next piece comes, in its own thread.
 *
 * The end of a turn. The monitor ends a bounded turn when everything is done and either the next
 * piece of work waits for another turn, or none has come for LINGER_NS, or pauses are usually
 * longer than that. Also a turn whose budget is used up lingers: a program that waits for each of
 * its kernels would otherwise miss the next round by the moment that it needs to issue the next.
 *
 * The hand-over. Shortly before its last work is done, the turn's worker says so; the supervisor
 * tells who is likely to be next, and all three then look for the end in short loops instead of
 * sleeping, where the supervisor finds processors enough for that. It ends when that work is
 * done and not before: a GPU that finds another process's work waiting goes over to it at once, and
 * then back for the rest, which is three changes of contexts instead of one.
 *
 * Locks: turn.lock, one for each device, is held from turn_begin() to turn_end(), so that a batch's
 * events lie where they should, and by the monitor except while it waits. It is taken under
 * a turn of order (worker.c). Waits are futexes on the page's bell, read before what they depend
 * on.
 */
#include "cuda/server/turn.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cuda/server/worker.h"
#include "lib/base/log.h"
#include "proto/nvml-wire.h"
#include "proto/share-page.h"

#define AHEAD_NS	 4000000u  /* estimated work with the driver; */
#define ALONE_NS	 16000000u /* with a long piece at the end, of the only client */
#define BATCH_NS	 1000000u  /* a batch is closed at this length, */
#define BATCH_LAUNCHES	 512u	   /* or with this many pieces, */
#define SHALLOW_NS	 200000u   /* or, with less than this much work queued, */
#define BATCH_SHALLOW_NS 500000u   /* at this length, */
#define BATCH_BOUNDED_NS 50000u	   /* or this one while others wait */
#define STALL_NS	 20000000u /* time overdue before more work passes; */
#define STALL_LEAST_NS	 1000000u  /* it is learned between these two */
#define STALL_MOST_NS	 1000000000u
#define STALL_DOUBLINGS	 6u	  /* in one turn */
#define HELPED_NS	 3000000u /* the device got on so soon after it that the work was waited for */
#define UNKNOWN_NS	 1000000u    /* estimate of what was never measured */
#define LINGER_NS	 150000u     /* pause inside a turn */
#define ENDING_NS	 200000u     /* so long before its end a turn's end is told */
#define ENDING_NAP_NS	 40000u	     /* time between two looks before that */
#define SEEN_ENOUGH	 3u	     /* measurements before an estimate is believed */
#define PREPARED_NS	 400000u     /* how long who is told that it is next looks for its turn */
#define OPEN_NS		 1000000u    /* an open batch is closed after this time, */
#define OPEN_BOUNDED_NS	 60000u	     /* or this one while others wait */
#define ALONE_NAP_NS	 3000000u    /* time between two looks of a monitor that nobody waits for */
#define CONTEXT_NS	 2000000000u /* how long a context's end waits for work in it to be measured */
#define CONTEXT_NAP_NS	 50000u
#define BATCHES		 64u   /* closed and not done */
#define COSTS		 4096u /* estimates; kinds that share one share their mean */
static_assert(CUDA_WIRE_DEVICES_MAX == SHARE_PAGE_DEVICES &&
		      NVML_WIRE_DEVICES_MAX == SHARE_PAGE_DEVICES,
	      "a client sees no device that has no turns");

#define MONITOR_STACK (256u << 10)

struct batch {
	CUcontext context;
	CUevent begin; /* NULL: it begins where the batch that was closed before it ends */
	CUevent end;
	CUstream stream;
	uint64_t estimate_ns;
	uint32_t cost; /* of its first piece; 0: nothing is learned from it */
	uint32_t pieces;
	uint32_t sequence; /* of the turn that it was opened in */
	bool mixed;	   /* it has pieces of other kinds */
	bool unknown;	   /* its last piece is of a kind that was not measured often enough */
	struct share_page_piece record; /* .count is 0 where launches are not recorded */
};

/* An event to use again. */
struct spare {
	CUcontext context;
	CUevent event;
};

/* An estimate; of atomics. */
struct cost {
	uint32_t ns; /* 0: never measured */
	uint32_t seen;
};

struct turn {
	pthread_mutex_t lock;
	struct share_page_device *page;
	struct batch batches[BATCHES]; /* a ring: closed, in the order of closing */
	unsigned int first, count;
	struct batch open; /* .pieces 0: none is */
	uint64_t open_number;
	uint64_t opened_ns;
	struct spare spare[2 * BATCHES];
	unsigned int spares;
	CUevent last_end; /* of the batch measured last, in .last_context; its own, or NULL */
	CUcontext last_context;
	uint64_t measured;	 /* batches, ever */
	CUcontext waits_in;	 /* of the batch that the monitor waits for without the lock, */
	CUevent waits_for;	 /* and its end; NULL: it does not */
	uint64_t outstanding_ns; /* estimates of batches and open */
	uint64_t busy_until_ns;	 /* when all of that should be done */
	unsigned int unknown;	 /* batches of unknown length under way */
	uint64_t progress_ns;	 /* when a batch was done last, or the first one began */
	uint64_t stall_ns;	 /* how long overdue before work passes */
	uint64_t passed_ns;	 /* when some passed; 0: none since the last progress */
	uint32_t sequence;	 /* of the turn whose begin was seen */
	uint32_t prepared;	 /* the page's, as last seen */
	uint64_t begin_used_ns;	 /* page's used_ns then */
	unsigned int given;	 /* pieces in this turn; */
	unsigned int passes;	 /* of them, those that passed while others waited */
	unsigned int blocked;	 /* threads in turn_begin() that wait, */
	uint64_t wanted_ns;	 /* the last one of them for so much */
	bool monitored;		 /* its thread runs */
	bool monitor_sleeps;	 /* until a piece comes */
	bool monitor_naps;	 /* until somebody waits */
	uint64_t idle_since_ns;	 /* when the last batch was done; 0: something is under way */
	uint64_t pause_ns;	 /* running mean of pauses */
	uint64_t given_ns;	 /* when the driver got the last piece that was recorded */
};

static struct share_page *page;
static int kick_fd;
static bool spins; /* there are processors enough for it */
static struct turn turns[SHARE_PAGE_DEVICES];
static unsigned long
	places[SHARE_PAGE_DEVICES]; /* of the devices that this process sees, among all */
static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER; /* of the page's pieces */
static struct cost costs[COSTS];

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool recording(void)
{
	return __atomic_load_n(&page->recording, __ATOMIC_RELAXED);
}

static void bell_ring(struct turn *turn)
{
	__atomic_add_fetch(&turn->page->bell, 1, __ATOMIC_ACQ_REL);
	syscall(SYS_futex, &turn->page->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static uint32_t bell_read(const struct turn *turn)
{
	return __atomic_load_n(&turn->page->bell, __ATOMIC_ACQUIRE);
}

/* bell_wait - without the lock, until the bell is no longer @seen; false: @limit_ns passed */
static bool bell_wait(struct turn *turn, uint32_t seen, uint64_t limit_ns)
{
	const struct timespec limit = { limit_ns / 1000000000u, limit_ns % 1000000000u };
	long status;

	pthread_mutex_unlock(&turn->lock);
	status = syscall(SYS_futex, &turn->page->bell, FUTEX_WAIT, seen, limit_ns ? &limit : NULL,
			 NULL, 0);
	if (status < 0)
		status = -errno;
	pthread_mutex_lock(&turn->lock);
	return status != -ETIMEDOUT;
}

/* bell_spin - the same, for PREPARED_NS at most and without sleeping */
static void bell_spin(struct turn *turn, uint32_t seen)
{
	uint64_t until = now_ns() + PREPARED_NS;

	pthread_mutex_unlock(&turn->lock);
	while (bell_read(turn) == seen && now_ns() < until)
		__builtin_ia32_pause();
	pthread_mutex_lock(&turn->lock);
}

static void kick(void)
{
	static const uint64_t one = 1;

	if (write(kick_fd, &one, sizeof(one)) < 0)
		log_debug("kick: %m");
}

static void want_set(struct turn *turn, uint32_t want)
{
	__atomic_store_n(&turn->page->want, want, __ATOMIC_RELEASE);
}

/* turn_held - the kind of the turn that this client has, 0 for none; notes where a new one begins
 */
static enum share_grant_kind turn_held(struct turn *turn)
{
	uint32_t grant = __atomic_load_n(&turn->page->grant, __ATOMIC_ACQUIRE);
	uint32_t sequence = grant >> 2;

	if (sequence == turn->page->ended)
		return 0;
	if (sequence != turn->sequence) {
		turn->sequence = sequence;
		turn->begin_used_ns = turn->page->used_ns;
		turn->given = turn->passes = 0;
		want_set(turn, 0);
	}
	return grant & 3;
}

/*
 * turn_spent - a piece of @wanted_ns belongs into another turn. The first one never does, and a
 * later one does where more than half of it would lie beyond the budget.
 */
static bool turn_spent(const struct turn *turn, enum share_grant_kind kind, uint64_t wanted_ns)
{
	uint64_t budget = __atomic_load_n(&turn->page->budget_ns, __ATOMIC_ACQUIRE);
	int64_t taken = (int64_t)(turn->outstanding_ns + turn->page->used_ns) -
			(int64_t)turn->begin_used_ns;

	if (kind == SHARE_GRANT_UNBOUNDED)
		return false;
	if (!kind || !budget)
		return true;
	if (!turn->given || taken <= 0)
		return false;
	return (uint64_t)taken >= budget || budget - (uint64_t)taken < wanted_ns / 2;
}

/* turn_fits - a piece of @wanted_ns may be given to the driver now */
static bool turn_fits(const struct turn *turn, enum share_grant_kind kind, uint64_t wanted_ns)
{
	if (!kind || turn->count == BATCHES)
		return false;
	if (turn->outstanding_ns >= AHEAD_NS &&
	    (kind != SHARE_GRANT_UNBOUNDED || turn->outstanding_ns + wanted_ns > ALONE_NS))
		return false;
	/* Work of unknown length may use up the turn alone. */
	if (kind == SHARE_GRANT_BOUNDED && turn->unknown)
		return false;
	return !turn_spent(turn, kind, wanted_ns);
}

/* cost_known - the estimate of a kind of work; false: it is not one to rely on */
static bool cost_known(uint32_t cost, uint64_t *estimate_ns)
{
	const struct cost *at = &costs[cost % COSTS];

	*estimate_ns = __atomic_load_n(&at->ns, __ATOMIC_RELAXED);
	if (__atomic_load_n(&at->seen, __ATOMIC_RELAXED) >= SEEN_ENOUGH)
		return true;
	if (*estimate_ns < UNKNOWN_NS)
		*estimate_ns = UNKNOWN_NS;
	return false;
}

/* work_known - the same of a piece of work; what its caller says holds until it was measured */
static bool work_known(const struct turn_work *work, uint64_t *estimate_ns)
{
	if (work->cost && cost_known(work->cost, estimate_ns))
		return true;
	if (work->estimate_ns)
		*estimate_ns = work->estimate_ns;
	return work->estimate_ns;
}

/* event_take - one to record in the current context; NULL: the driver has none */
static CUevent event_take(struct turn *turn, CUcontext context)
{
	CUevent event;

	for (unsigned int i = turn->spares; i-- > 0;) {
		if (turn->spare[i].context != context)
			continue;
		event = turn->spare[i].event;
		turn->spare[i] = turn->spare[--turn->spares];
		return event;
	}
	return worker_driver.cuEventCreate(&event, CU_EVENT_BLOCKING_SYNC) ? NULL : event;
}

static void event_give_back(struct turn *turn, CUcontext context, CUevent event)
{
	struct spare given = { context, event };

	if (!event)
		return;
	if (turn->spares < 2 * BATCHES) {
		turn->spare[turn->spares++] = given;
		return;
	}
	if (event == turn->waits_for) {
		given = turn->spare[0];
		turn->spare[0] = (struct spare){ context, event };
	}
	worker_driver.cuEventDestroy_v2(given.event);
}

static void batch_give_back(struct turn *turn, const struct batch *batch)
{
	event_give_back(turn, batch->context, batch->begin);
	event_give_back(turn, batch->context, batch->end);
}

/* event_pending - what it stands behind is not done; also while some stream is captured */
static bool event_pending(CUevent event)
{
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
	CUresult result;

	if (!worker_driver.cuEventQuery)
		return false;
	if (worker_driver.cuThreadExchangeStreamCaptureMode)
		worker_driver.cuThreadExchangeStreamCaptureMode(&mode);
	result = worker_driver.cuEventQuery(event);
	if (worker_driver.cuThreadExchangeStreamCaptureMode)
		worker_driver.cuThreadExchangeStreamCaptureMode(&mode);
	return result == CUDA_ERROR_NOT_READY;
}

/* batch_follows - the device is busy with the turn's batch closed last when more comes behind it */
static bool batch_follows(const struct turn *turn, CUcontext context, CUstream stream)
{
	const struct batch *last;

	if (!turn->count)
		return false;
	last = &turn->batches[(turn->first + turn->count - 1) % BATCHES];
	return last->sequence == turn->sequence && last->context == context &&
	       last->stream == stream && event_pending(last->end);
}

/* batch_take - open a batch in the current context; false: the driver has no events */
static bool batch_take(struct turn *turn, CUcontext context, CUstream stream)
{
	struct batch batch = { .context = context, .stream = stream, .sequence = turn->sequence };

	if (!batch_follows(turn, context, stream)) {
		batch.begin = event_take(turn, context);
		if (!batch.begin)
			return false;
		if (worker_driver.cuEventRecord(batch.begin, stream)) {
			event_give_back(turn, context, batch.begin);
			return false;
		}
	}
	batch.end = event_take(turn, context);
	if (!batch.end) {
		event_give_back(turn, context, batch.begin);
		return false;
	}
	turn->open = batch;
	turn->opened_ns = now_ns();
	turn->open_number++;
	return true;
}

/*
 * batch_close - the open batch is complete; in its context. Its stream still exists: a driver does
 * not survive a record in one that is gone, see turn_stream_ends().
 */
static void batch_close(struct turn *turn)
{
	struct batch *batch = &turn->open;

	if (!batch->pieces)
		return;
	if (turn->count == BATCHES || worker_driver.cuEventRecord(batch->end, batch->stream)) {
		turn->outstanding_ns -= batch->estimate_ns;
		batch_give_back(turn, batch);
	} else {
		turn->batches[(turn->first + turn->count++) % BATCHES] = *batch;
		turn->unknown += batch->unknown;
	}
	batch->pieces = 0;
	if (turn->monitor_sleeps)
		bell_ring(turn);
}

/* elapsed_ns - from one event to another, not below 0; UINT64_MAX: the driver does not say */
static uint64_t elapsed_ns(CUevent from, CUevent to)
{
	float ms;

	if (!from || worker_driver.cuEventElapsedTime_v2(&ms, from, to))
		return UINT64_MAX;
	return ms > 0 ? (uint64_t)((double)ms * 1e6) : 0;
}

static void cost_learn(const struct batch *batch, uint64_t measured_ns)
{
	struct cost *cost = &costs[batch->cost % COSTS];
	uint64_t each = measured_ns / batch->pieces, before;
	uint32_t seen = __atomic_load_n(&cost->seen, __ATOMIC_RELAXED);

	if (batch->mixed || !batch->cost)
		return;
	if (seen < SEEN_ENOUGH)
		__atomic_store_n(&cost->seen, seen + 1, __ATOMIC_RELAXED);
	before = __atomic_load_n(&cost->ns, __ATOMIC_RELAXED);
	/* What takes far longer than before is believed at once: a turn must not be overfilled. */
	if (before && each < 2 * before)
		each = (3 * before + each) / 4;
	if (each > UINT32_MAX)
		each = UINT32_MAX;
	__atomic_store_n(&cost->ns, each ? (uint32_t)each : 1, __ATOMIC_RELAXED);
}

/* stall_learn - there is progress: was it work that passed that helped? */
static void stall_learn(struct turn *turn)
{
	uint64_t now = now_ns();

	turn->progress_ns = now;
	if (!turn->passed_ns)
		return;
	if (now - turn->passed_ns < HELPED_NS)
		turn->stall_ns =
			turn->stall_ns / 2 > STALL_LEAST_NS ? turn->stall_ns / 2 : STALL_LEAST_NS;
	else
		turn->stall_ns =
			turn->stall_ns * 2 < STALL_MOST_NS ? turn->stall_ns * 2 : STALL_MOST_NS;
	turn->passed_ns = 0;
}

/* record_write - a batch that was recorded is done */
static void record_write(const struct turn *turn, struct share_page_piece *record,
			 uint64_t measured_ns)
{
	uint64_t count;

	if (!record->count)
		return;
	record->device = (uint32_t)(turn->page - page->devices);
	record->measured_ns = measured_ns;
	pthread_mutex_lock(&record_lock);
	count = page->piece_count;
	page->pieces[count % SHARE_PAGE_PIECES] = *record;
	__atomic_store_n(&page->piece_count, count + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&record_lock);
}

/*
 * record_arrive - a piece of work comes: how long after the one before, and whether the program
 * waited for that. Each pause begins a batch, so that a batch has launches without waits alone.
 */
static void record_arrive(struct turn *turn, struct turn_work *work)
{
	work->arrived_ns = now_ns();
	work->gap_ns = turn->given_ns ? work->arrived_ns - turn->given_ns : 0;
	work->idle = turn->given_ns && worker_driver.cuStreamQuery &&
		     worker_driver.cuStreamQuery(work->stream) == CUDA_SUCCESS;
	if (work->idle)
		batch_close(turn);
}

/* record_add - the driver took it: it belongs to the open batch */
static void record_add(struct turn *turn, const struct turn_work *work)
{
	struct share_page_piece *record = &turn->open.record;

	if (!work->arrived_ns)
		return;
	turn->given_ns = now_ns();
	if (record->count++) {
		record->spread_ns += work->gap_ns;
		return;
	}
	record->issued_ns = work->arrived_ns;
	record->gap_ns = work->gap_ns;
	record->idle = work->idle;
}

/* batch_measured - the oldest batch is done: charge it, and keep its end for the next one */
static void batch_measured(struct turn *turn)
{
	struct batch *batch = &turn->batches[turn->first];
	uint64_t own = elapsed_ns(batch->begin, batch->end), since = UINT64_MAX;

	if (batch->context == turn->last_context)
		since = elapsed_ns(turn->last_end, batch->end);
	if (!batch->begin)
		own = since;
	if (own == UINT64_MAX)
		own = 0; /* the context ended with an error: nothing can be asked of it */
	else if (!turn->passed_ns)
		cost_learn(batch, own);
	stall_learn(turn);
	if (since < own)
		own = since;
	__atomic_store_n(&turn->page->used_ns, turn->page->used_ns + own, __ATOMIC_RELEASE);
	record_write(turn, &batch->record, own);
	turn->outstanding_ns -= batch->estimate_ns;
	turn->unknown -= batch->unknown;
	turn->busy_until_ns = turn->progress_ns + turn->outstanding_ns;
	event_give_back(turn, turn->last_context, turn->last_end);
	event_give_back(turn, batch->context, batch->begin);
	turn->last_context = batch->context;
	turn->last_end = batch->end;
	turn->first = (turn->first + 1) % BATCHES;
	turn->count--;
	turn->measured++;
	if (turn->blocked) {
		if (turn_fits(turn, turn_held(turn), turn->wanted_ns))
			bell_ring(turn);
	} else if (!turn->count && !turn->open.pieces) {
		turn->idle_since_ns = now_ns();
	}
}

/*
 * batches_reap - measure what is done already, in the place of the monitor, which may be about to
 * wake up or have a nap. Only where nobody else wants the device: the end of a bounded turn is the
 * monitor's. Events may be asked about from any context.
 */
static void batches_reap(struct turn *turn)
{
	while (turn->count && worker_driver.cuEventQuery &&
	       turn_held(turn) == SHARE_GRANT_UNBOUNDED &&
	       !event_pending(turn->batches[turn->first].end))
		batch_measured(turn);
}

/* turn_finish - the turn is over */
static void turn_finish(struct turn *turn)
{
	want_set(turn, turn->blocked > 0);
	__atomic_store_n(&turn->page->ended, turn->sequence, __ATOMIC_RELEASE);
	kick();
}

/*
 * monitor_rest - nothing is under way: keep the turn for a while, or end it. Returns when there may
 * be something to do.
 */
static void monitor_rest(struct turn *turn, uint32_t bell)
{
	enum share_grant_kind kind = turn_held(turn);
	uint64_t budget;

	if (kind != SHARE_GRANT_BOUNDED) {
		turn->monitor_sleeps = true;
		bell_wait(turn, bell, 0);
		turn->monitor_sleeps = false;
		return;
	}
	budget = __atomic_load_n(&turn->page->budget_ns, __ATOMIC_ACQUIRE);
	if (!budget || (turn->blocked ? turn_spent(turn, kind, turn->wanted_ns)
				      : turn->pause_ns > LINGER_NS)) {
		turn_finish(turn);
		return;
	}
	turn->monitor_sleeps = true;
	if (!bell_wait(turn, bell, LINGER_NS) && !turn->count && !turn->open.pieces &&
	    !turn->blocked) {
		turn->pause_ns = LINGER_NS + 1; /* until a shorter one is seen */
		turn_finish(turn);
	}
	turn->monitor_sleeps = false;
}

/* monitor_tail - no more came to the open batch for a while: close it */
static void monitor_tail(struct turn *turn, uint32_t bell)
{
	uint64_t number = turn->open_number;
	bool bounded = turn_held(turn) == SHARE_GRANT_BOUNDED;

	turn->monitor_sleeps = true;
	bell_wait(turn, bell, bounded ? OPEN_BOUNDED_NS : 2 * OPEN_NS);
	turn->monitor_sleeps = false;
	if (!turn->open.pieces || turn->open_number != number)
		return;
	worker_driver.cuCtxSetCurrent(turn->open.context);
	batch_close(turn);
}

/* monitor_ends - the oldest batch is the last one of a turn that is used up, and should end soon */
static bool monitor_ends(struct turn *turn)
{
	return spins && worker_driver.cuEventQuery && turn->count == 1 && !turn->open.pieces &&
	       !turn->unknown && turn->blocked && turn_held(turn) == SHARE_GRANT_BOUNDED &&
	       turn_spent(turn, SHARE_GRANT_BOUNDED, turn->wanted_ns);
}

/*
 * monitor_spin - without the lock, with a look now and then, until @end is reached or is long
 * overdue; says to the supervisor when it is near. Estimates may be wrong either way: so it looks
 * before the end is due, too.
 */
static void monitor_spin(struct turn *turn, CUevent end, uint64_t due_ns)
{
	static const struct timespec nap = { 0, ENDING_NAP_NS };
	bool said = false;
	uint64_t now;

	while (worker_driver.cuEventQuery(end) == CUDA_ERROR_NOT_READY) {
		now = now_ns();
		if (now + ENDING_NS < due_ns) {
			nanosleep(&nap, NULL);
			continue;
		}
		if (!said) {
			__atomic_store_n(&turn->page->ending, turn->sequence, __ATOMIC_RELEASE);
			kick();
			said = true;
		}
		if (now > due_ns + ENDING_NS)
			return;
		__builtin_ia32_pause();
	}
}

/* monitor_wait - until the oldest batch is done, which is measured then unless somebody did so */
static void monitor_wait(struct turn *turn)
{
	const struct batch *batch = &turn->batches[turn->first];
	CUcontext context = batch->context;
	uint64_t due_ns = turn->busy_until_ns, number = turn->measured;
	CUevent end = batch->end;
	bool ends = monitor_ends(turn);

	turn->waits_in = context;
	turn->waits_for = end;
	pthread_mutex_unlock(&turn->lock);
	worker_driver.cuCtxSetCurrent(context);
	if (ends)
		monitor_spin(turn, end, due_ns);
	worker_driver.cuEventSynchronize(end);
	pthread_mutex_lock(&turn->lock);
	turn->waits_in = NULL;
	turn->waits_for = NULL;
	if (turn->measured == number)
		batch_measured(turn);
}

/* monitor_nap - nobody waits for what is under way */
static void monitor_nap(struct turn *turn, uint32_t bell)
{
	turn->monitor_naps = true;
	bell_wait(turn, bell, ALONE_NAP_NS);
	turn->monitor_naps = false;
	if (turn->count)
		worker_driver.cuCtxSetCurrent(turn->batches[turn->first].context);
	batches_reap(turn);
}

static void *monitor(void *argument)
{
	struct turn *turn = argument;
	CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;

	/* A capture of the program's must not be broken by what this thread asks of events. */
	if (worker_driver.cuThreadExchangeStreamCaptureMode)
		worker_driver.cuThreadExchangeStreamCaptureMode(&mode);
	pthread_mutex_lock(&turn->lock);
	for (;;) {
		uint32_t bell = bell_read(turn);

		if (turn->count && !turn->blocked && worker_driver.cuEventQuery &&
		    turn_held(turn) == SHARE_GRANT_UNBOUNDED) {
			monitor_nap(turn, bell);
		} else if (turn->count) {
			monitor_wait(turn);
		} else if (turn->open.pieces) {
			monitor_tail(turn, bell);
		} else {
			monitor_rest(turn, bell);
		}
	}
	return NULL;
}

static bool monitor_start(struct turn *turn)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (turn->monitored)
		return true;
	if (pthread_attr_init(&attributes))
		return false;
	pthread_attr_setstacksize(&attributes, MONITOR_STACK);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	turn->monitored = !pthread_create(&thread, &attributes, monitor, turn);
	pthread_attr_destroy(&attributes);
	return turn->monitored;
}

/* turn_stall - how long work may still wait for its client's own; 0: it passes, UINT64_MAX: none */
static uint64_t turn_stall(const struct turn *turn)
{
	unsigned int doublings = turn->passes < STALL_DOUBLINGS ? turn->passes : STALL_DOUBLINGS;
	uint64_t until = turn->passed_ns ? turn->passed_ns : turn->progress_ns, now = now_ns();

	if (!turn->count)
		return UINT64_MAX;
	if (until < turn->busy_until_ns)
		until = turn->busy_until_ns;
	until += turn->stall_ns << doublings;
	return now < until ? until - now : 0;
}

/* turn_prepared - the supervisor has said anew that this client is next */
static bool turn_prepared(struct turn *turn)
{
	uint32_t prepared = __atomic_load_n(&turn->page->prepared, __ATOMIC_ACQUIRE);
	bool anew = prepared != turn->prepared;

	turn->prepared = prepared;
	return anew;
}

/* turn_wait - until this client has a turn that a piece of @wanted_ns fits into */
static void turn_wait(struct turn *turn, uint64_t wanted_ns)
{
	uint64_t since = 0, stall_ns, now;

	for (;;) {
		enum share_grant_kind kind = turn_held(turn);
		uint32_t bell;

		/* Before the bell is read: this must not be taken for an answer. */
		if (turn->blocked && turn->monitor_sleeps && kind == SHARE_GRANT_BOUNDED)
			bell_ring(turn);
		bell = bell_read(turn);
		kind = turn_held(turn);
		if (turn_fits(turn, kind, wanted_ns))
			break;
		turn->wanted_ns = wanted_ns;
		if (!since) {
			since = now_ns();
			turn->blocked++;
			batch_close(turn);
			if (turn->monitor_naps)
				bell_ring(turn);
			continue;
		}
		if (!kind && !turn->page->want) {
			want_set(turn, 1);
			kick();
		}
		stall_ns = kind ? turn_stall(turn) : UINT64_MAX;
		if (!stall_ns) {
			turn->passed_ns = now_ns();
			turn->passes += kind == SHARE_GRANT_BOUNDED;
			break;
		}
		if (spins && !kind && turn_prepared(turn))
			bell_spin(turn, bell);
		else
			bell_wait(turn, bell, stall_ns == UINT64_MAX ? 0 : stall_ns);
	}
	if (!since)
		return;
	turn->blocked--;
	now = now_ns();
	__atomic_store_n(&turn->page->waits, turn->page->waits + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&turn->page->waited_ns, turn->page->waited_ns + now - since,
			 __ATOMIC_RELAXED);
}

/* turn_resumed - work comes after a pause: how long was it */
static void turn_resumed(struct turn *turn)
{
	uint64_t pause;

	if (!turn->count && !turn->open.pieces)
		turn->progress_ns = now_ns();
	if (!turn->idle_since_ns)
		return;
	pause = now_ns() - turn->idle_since_ns;
	/* One long pause says nothing about the next ones. */
	if (pause > 4 * LINGER_NS)
		pause = 4 * LINGER_NS;
	turn->pause_ns = (3 * turn->pause_ns + pause) / 4;
	turn->idle_since_ns = 0;
}

/* turn_close - close what is open, if it is in this stream (NULL: any) of this context (NULL: any)
 */
static void turn_close(struct turn *turn, CUstream stream, CUcontext context)
{
	CUcontext before = NULL;

	if (!turn->open.pieces || (stream && turn->open.stream != stream) ||
	    (context && turn->open.context != context))
		return;
	worker_driver.cuCtxGetCurrent(&before);
	worker_driver.cuCtxSetCurrent(turn->open.context);
	batch_close(turn);
	worker_driver.cuCtxSetCurrent(before);
}

void turn_stream_ends(CUstream stream)
{
	for (unsigned int i = 0; page && i < SHARE_PAGE_DEVICES; i++) {
		pthread_mutex_lock(&turns[i].lock);
		turn_close(&turns[i], stream, NULL);
		pthread_mutex_unlock(&turns[i].lock);
	}
}

/* turn_has - some batch that is not measured yet has events of this context, or is waited for */
static bool turn_has(const struct turn *turn, CUcontext context)
{
	if (turn->waits_in == context)
		return true;
	for (unsigned int i = 0; i < turn->count; i++)
		if (turn->batches[(turn->first + i) % BATCHES].context == context)
			return true;
	return false;
}

/* events_drop - no event of this context is kept */
static void events_drop(struct turn *turn, CUcontext context)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < turn->spares; i++) {
		if (turn->spare[i].context == context)
			worker_driver.cuEventDestroy_v2(turn->spare[i].event);
		else
			turn->spare[kept++] = turn->spare[i];
	}
	turn->spares = kept;
	if (turn->last_end && turn->last_context == context) {
		worker_driver.cuEventDestroy_v2(turn->last_end);
		turn->last_end = NULL;
	}
}

void turn_context_ends(CUcontext context)
{
	static const struct timespec nap = { 0, CONTEXT_NAP_NS };
	uint64_t until = now_ns() + CONTEXT_NS;

	for (unsigned int i = 0; page && i < SHARE_PAGE_DEVICES; i++) {
		struct turn *turn = &turns[i];

		pthread_mutex_lock(&turn->lock);
		turn_close(turn, NULL, context);
		while (turn_has(turn, context) && now_ns() < until) {
			pthread_mutex_unlock(&turn->lock);
			nanosleep(&nap, NULL);
			pthread_mutex_lock(&turn->lock);
			batches_reap(turn);
		}
		events_drop(turn, context);
		pthread_mutex_unlock(&turn->lock);
	}
}

/* stream_captures - what is captured runs later, when its graph is launched */
static bool stream_captures(CUstream stream)
{
	CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;

	return worker_driver.cuStreamIsCapturing &&
	       (worker_driver.cuStreamIsCapturing(stream, &status) ||
		status != CU_STREAM_CAPTURE_STATUS_NONE);
}

void turn_begin(struct turn_work *work, CUstream stream, uint32_t cost, uint64_t estimate_ns)
{
	CUcontext context = NULL;
	uint64_t wanted_ns;
	CUdevice device;
	struct turn *turn;

	*work = (struct turn_work){ .stream = stream, .cost = cost, .estimate_ns = estimate_ns };
	if (!page)
		return;
	if (worker_driver.cuCtxGetDevice(&device) || worker_driver.cuCtxGetCurrent(&context) ||
	    device < 0 || device >= (int)SHARE_PAGE_DEVICES ||
	    places[device] >= SHARE_PAGE_DEVICES || stream_captures(stream))
		return;
	turn = &turns[places[device]];
	pthread_mutex_lock(&turn->lock);
	if (!monitor_start(turn)) {
		pthread_mutex_unlock(&turn->lock);
		return;
	}
	if (recording())
		record_arrive(turn, work);
	if (turn->outstanding_ns >= AHEAD_NS)
		batches_reap(turn);
	turn_resumed(turn);
	work_known(work, &wanted_ns);
	turn_wait(turn, wanted_ns);
	if (turn->open.pieces && (turn->open.stream != stream || turn->open.context != context ||
				  now_ns() - turn->opened_ns > OPEN_NS))
		batch_close(turn);
	if (turn->count == BATCHES) {
		pthread_mutex_unlock(&turn->lock);
		return;
	}
	if (!turn->open.pieces) {
		if (!batch_take(turn, context, stream)) {
			/* The driver will say what is wrong when it gets the work itself. */
			pthread_mutex_unlock(&turn->lock);
			return;
		}
		turn->open.cost = cost;
	}
	work->turn = turn;
}

/* batch_full - whether an event belongs behind the piece that was added last */
static bool batch_full(struct turn *turn, uint64_t now)
{
	const struct batch *batch = &turn->open;
	uint64_t limit = BATCH_NS;

	if (turn->busy_until_ns < now + SHALLOW_NS)
		limit = turn_held(turn) == SHARE_GRANT_BOUNDED ? BATCH_BOUNDED_NS
							       : BATCH_SHALLOW_NS;
	return batch->estimate_ns >= limit || batch->pieces >= BATCH_LAUNCHES;
}

void turn_end(struct turn_work *work, CUresult result)
{
	struct turn *turn = work->turn;
	uint64_t estimate, now;
	struct batch *batch;
	bool known;

	if (!turn)
		return;
	batch = &turn->open;
	if (result) {
		if (!batch->pieces)
			batch_give_back(turn, batch);
		pthread_mutex_unlock(&turn->lock);
		return;
	}
	known = work_known(work, &estimate);
	batch->mixed |= batch->cost != work->cost;
	batch->unknown |= !known;
	batch->pieces++;
	turn->given++;
	record_add(turn, work);
	batch->estimate_ns += estimate;
	turn->outstanding_ns += estimate;
	now = now_ns();
	turn->busy_until_ns = (turn->busy_until_ns > now ? turn->busy_until_ns : now) + estimate;
	__atomic_store_n(&turn->page->launches, turn->page->launches + 1, __ATOMIC_RELAXED);
	if (!known || batch_full(turn, now))
		batch_close(turn);
	else if (batch->pieces == 1 && turn->monitor_sleeps)
		bell_ring(turn);
	pthread_mutex_unlock(&turn->lock);
}

/* devices_place - by the variable that hides devices; identifiers in it say nothing of a place */
static void devices_place(void)
{
	const char *at = getenv("CUDA_VISIBLE_DEVICES");
	char *end;

	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++)
		places[i] = i;
	for (unsigned int i = 0; at && i < SHARE_PAGE_DEVICES && *at >= '0' && *at <= '9'; i++) {
		places[i] = strtoul(at, &end, 10);
		at = *end == ',' ? end + 1 : NULL;
	}
}

void turn_open(struct share_page *shared, int descriptor)
{
	page = shared;
	kick_fd = descriptor;
	spins = __atomic_load_n(&page->spins, __ATOMIC_ACQUIRE);
	devices_place();
	for (unsigned int i = 0; i < SHARE_PAGE_DEVICES; i++) {
		turns[i].page = &page->devices[i];
		turns[i].stall_ns = STALL_NS;
		pthread_mutex_init(&turns[i].lock, NULL);
	}
}
