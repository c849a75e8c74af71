/* fill_relay.c - a fill whose store has failed: its bytes go through a ring in the slot, at the pace of its slowest reader (fill.h). */
#include "fill_impl.h"
#include "../common/arena.h"
#include <string.h>

int
fill_degrade(struct fill *f)
{
	struct slot *s = f->s;
	unsigned readers;

	INVARIANT(f->is_writer && atomic_load(&s->state) == GROWING);
	shm_lock(&f->t->lock);
	fill_give_up_key(f->t, f->index);
	readers = fill_slot_readers(s);
	shm_unlock(&f->t->lock);
	if (readers == 0)
		return -ERR_GONE;
	fd_close(&f->fd); /* what readers have of it, they read by their own */
	s->relay_base = s->ring_from = atomic_load(&s->available);
	atomic_store(&s->relaying, 1);
	fill_slot_state(s, RELAYED);
	fill_slot_wake(s); /* those who sleep take their lanes */
	return 0;
}

/* How many bytes the ring can take. Under the lock. A reader that has not taken its lane yet still needs all from relay_base on. */
static int64_t
relay_room(const struct slot *s)
{
	uint64_t low = UINT64_MAX, have = atomic_load(&s->available);
	unsigned lanes = 0, readers = fill_slot_readers(s);

	if (readers == 0)
		return -ERR_GONE;
	for (unsigned i = 0; i < FILL_LANES; i++)
		if (s->lanes[i].owner != 0) {
			uint64_t pos = atomic_load(&s->lanes[i].pos);
			lanes++;
			low = pos < low ? pos : low;
		}
	if (lanes < readers && low > s->relay_base)
		low = s->relay_base;
	if (low < s->relay_base)
		low = s->relay_base; /* what is below is not in the ring */
	if (low > have)
		low = have;
	return (int64_t)(low + FILL_RELAY - have);
}

int64_t
fill_relay(struct fill *f, const void *p, size_t n, int64_t deadline)
{
	struct slot *s = f->s;
	uint64_t have = atomic_load(&s->available), at;
	uint32_t seen;
	int64_t room;

	INVARIANT(f->is_writer && atomic_load(&s->state) == RELAYED);
	for (;;) {
		seen = atomic_load(&s->room);
		atomic_store(&s->room_wanted, 1);
		shm_lock(&f->t->lock);
		room = relay_room(s);
		at = (have - s->relay_base) % FILL_RELAY;
		if (room > 0) {
			n = n < (size_t)room ? n : (size_t)room;
			n = n < FILL_RELAY - at ? n : (size_t)(FILL_RELAY - at);
			if (have + n > s->ring_from + FILL_RELAY)
				s->ring_from = have + n - FILL_RELAY;
		}
		shm_unlock(&f->t->lock);
		if (room != 0)
			break;
		if (shm_wait(&s->room, seen, deadline) < 0)
			return -ERR_AGAIN;
	}
	if (room < 0)
		return room;
	memcpy(s->ring + at, p, n);
	fill_slot_publish(s, have + n);
	return (int64_t)n;
}

void
fill_room_notify(struct slot *s)
{
	if (atomic_load(&s->room_wanted) && atomic_exchange(&s->room_wanted, 0))
		shm_wake_all(&s->room);
}

/* In a relay: says where we are, which is what protects the bytes from there on. */
int
fill_keep_pace(struct fill *f, uint64_t off)
{
	struct slot *s = f->s;
	uint32_t generation, files;
	bool last = false;

	if (f->lane < 0) {
		shm_lock(&f->t->lock);
		/* one that was attached after the relay began may be too late */
		f->lost = s->ring_from > (off > s->relay_base ? off : s->relay_base);
		for (int i = 0; i < FILL_LANES && f->lane < 0 && !f->lost; i++)
			if (s->lanes[i].owner == 0)
				f->lane = i;
		if (f->lane >= 0) {
			atomic_store(&s->lanes[f->lane].pos, off);
			s->lanes[f->lane].owner = f->worker + 1;
		} else { /* the writer must not wait for one that it cannot see: out, now */
			f->lost = true;
			fill_slot_readers_add(s, f->worker, (uint32_t)-1);
			last = fill_free_if_left(f->t, f->index, &generation, &files);
		}
		fill_room_notify(s);
		shm_unlock(&f->t->lock);
		if (last)
			fill_unlink_files(f->chunks, f->index, generation, files);
		f->floor = off;
	}
	if (f->lost || (off < f->floor && off >= s->relay_base))
		return -ERR_FILL_FAILED;
	if (off > f->floor) {
		f->floor = off;
		atomic_store(&s->lanes[f->lane].pos, off);
		fill_room_notify(s);
	}
	return 0;
}
