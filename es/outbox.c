/* outbox.c - see outbox.h. */
#include "outbox.h"
#include "../common/clock.h"
#include "../common/counters.h"
#include <string.h>

struct row { /* of the outbox */
	uint64_t generation;
	int64_t since;
};
struct event_head { /* and the id behind it */
	int64_t at;
	uint32_t kind, local;
};

static MDB_val
val(struct str s)
{
	return (MDB_val){ s.n, (void *)s.p };
}

static struct str
str(MDB_val v)
{
	return (struct str){ v.mv_data, v.mv_size };
}

/* The first row whose key is behind after. */
static int
next(MDB_txn *txn, MDB_dbi dbi, struct str after, MDB_val *key, MDB_val *data)
{
	MDB_cursor *c;
	int rc = mdb_cursor_open(txn, dbi, &c);

	if (rc)
		return rc;
	*key = val(after);
	rc = mdb_cursor_get(c, key, data, after.n ? MDB_SET_RANGE : MDB_FIRST);
	if (rc == 0 && after.n && str_eq(str(*key), after))
		rc = mdb_cursor_get(c, key, data, MDB_NEXT);
	mdb_cursor_close(c);
	return rc;
}

static int
delete(MDB_txn *txn, MDB_dbi dbi, MDB_val key)
{
	int rc = mdb_del(txn, dbi, &key, NULL);

	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
get_row(MDB_txn *txn, MDB_dbi dbi, struct str id, struct row *row)
{
	MDB_val key = val(id), data;
	int rc = mdb_get(txn, dbi, &key, &data);

	if (rc == 0 && data.mv_size != sizeof *row)
		return MDB_CORRUPTED;
	if (rc == 0)
		memcpy(row, data.mv_data, sizeof *row);
	return rc;
}

int
outbox_put(MDB_txn *txn, MDB_dbi dbi, struct str id)
{
	struct row row;
	MDB_val key = val(id), data = { sizeof row, &row };
	int rc = get_row(txn, dbi, id, &row);

	if (rc == MDB_NOTFOUND)
		row.since = clock_wall();
	else if (rc)
		return rc;
	row.generation = mdb_txn_id(txn); /* grows with each write transaction */
	return mdb_put(txn, dbi, &key, &data, 0);
}

int
outbox_settle(MDB_txn *txn, MDB_dbi dbi, struct str id, uint64_t generation)
{
	struct row row;
	int rc = get_row(txn, dbi, id, &row);

	if (rc == MDB_NOTFOUND || (rc == 0 && row.generation != generation))
		return 0;
	return rc ? rc : delete(txn, dbi, val(id));
}

int
outbox_cancel(MDB_txn *txn, MDB_dbi dbi, struct str id)
{
	return delete(txn, dbi, val(id));
}

bool
outbox_has(MDB_txn *txn, MDB_dbi dbi, struct str id)
{
	struct row row;

	return get_row(txn, dbi, id, &row) == 0;
}

int
outbox_next(MDB_txn *txn, MDB_dbi dbi, struct str after, struct outbox_row *out)
{
	MDB_val key, data;
	struct row row;
	int rc = next(txn, dbi, after, &key, &data);

	if (rc)
		return rc;
	if (data.mv_size != sizeof row)
		return MDB_CORRUPTED;
	memcpy(&row, data.mv_data, sizeof row);
	*out = (struct outbox_row){ str(key), row.generation, row.since };
	return 0;
}

/* --- events ---------------------------------------------------------------------------------------------------------------- */

int
event_put(MDB_txn *txn, MDB_dbi dbi, const struct event *e)
{
	struct event_head head = { e->at, e->kind, e->local };
	uint64_t number = 0;
	MDB_val key, data;
	MDB_cursor *c;
	MDB_stat stat;
	int rc = mdb_stat(txn, dbi, &stat);

	if (rc == 0 && stat.ms_entries >= EVENTS_MAX) {
		count(COUNT_es_events_dropped);
		return 0;
	}
	if (rc || (rc = mdb_cursor_open(txn, dbi, &c)))
		return rc;
	rc = mdb_cursor_get(c, &key, &data, MDB_LAST);
	if (rc == 0)
		memcpy(&number, key.mv_data, sizeof number);
	if (rc == 0 || rc == MDB_NOTFOUND) {
		number++;
		key = (MDB_val){ sizeof number, &number };
		data = (MDB_val){ sizeof head + e->id.n, NULL };
		if ((rc = mdb_cursor_put(c, &key, &data, MDB_APPEND | MDB_RESERVE)) == 0) {
			memcpy(data.mv_data, &head, sizeof head);
			memcpy((char *)data.mv_data + sizeof head, e->id.p, e->id.n);
		}
	}
	mdb_cursor_close(c);
	return rc;
}

int
event_next(MDB_txn *txn, MDB_dbi dbi, uint64_t after, struct event *e)
{
	struct event_head head;
	MDB_val key, data;
	int rc = next(txn, dbi, after ? (struct str){ (char *)&after, sizeof after } : STR_NONE, &key, &data);

	if (rc)
		return rc;
	if (key.mv_size != sizeof e->number || data.mv_size < sizeof head)
		return MDB_CORRUPTED;
	memcpy(&head, data.mv_data, sizeof head);
	*e = (struct event){ .kind = head.kind, .local = head.local, .at = head.at, .id = str_from(str(data), sizeof head) };
	memcpy(&e->number, key.mv_data, sizeof e->number);
	return 0;
}

int
event_settle(MDB_txn *txn, MDB_dbi dbi, uint64_t number)
{
	return delete(txn, dbi, (MDB_val){ sizeof number, &number });
}

bool
event_covers(MDB_txn *txn, MDB_dbi dbi, struct str id, int64_t stored_at)
{
	struct event e;
	uint64_t after = 0;
	unsigned seen = 0;

	while (event_next(txn, dbi, after, &e) == 0) {
		bool about = str_eq(id, e.id) || (str_starts(id, e.id) && id.p[e.id.n] == '+');
		if (++seen > EVENTS_LOOKED || (about && stored_at <= e.at))
			return true;
		after = e.number;
	}
	return false;
}

/* --- times of last use, state ------------------------------------------------------------------------------------------------ */

int
used_put(MDB_txn *txn, MDB_dbi dbi, struct str id, int64_t at)
{
	MDB_val key = val(id), data = { sizeof at, &at };
	MDB_stat stat;
	int rc = mdb_stat(txn, dbi, &stat);

	if (rc == 0 && stat.ms_entries >= USED_MAX) {
		count(COUNT_touches_dropped);
		return 0;
	}
	return rc ? rc : mdb_put(txn, dbi, &key, &data, 0);
}

int
used_next(MDB_txn *txn, MDB_dbi dbi, struct str after, struct str *id, int64_t *at)
{
	MDB_val key, data;
	int rc = next(txn, dbi, after, &key, &data);

	if (rc)
		return rc;
	if (data.mv_size != sizeof *at)
		return MDB_CORRUPTED;
	*id = str(key);
	memcpy(at, data.mv_data, sizeof *at);
	return 0;
}

int
used_settle(MDB_txn *txn, MDB_dbi dbi, struct str id, int64_t at)
{
	MDB_val key = val(id), data;
	int rc = mdb_get(txn, dbi, &key, &data);

	if (rc == MDB_NOTFOUND || (rc == 0 && data.mv_size == sizeof at && memcmp(data.mv_data, &at, sizeof at)))
		return 0;
	return rc ? rc : delete(txn, dbi, val(id));
}

int
state_put(MDB_txn *txn, MDB_dbi dbi, const char *name, int64_t value)
{
	MDB_val key = val(str_c(name)), data = { sizeof value, &value };

	return mdb_put(txn, dbi, &key, &data, 0);
}

int64_t
state_get(MDB_txn *txn, MDB_dbi dbi, const char *name, int64_t otherwise)
{
	MDB_val key = val(str_c(name)), data;
	int64_t value;

	if (mdb_get(txn, dbi, &key, &data) || data.mv_size != sizeof value)
		return otherwise;
	memcpy(&value, data.mv_data, sizeof value);
	return value;
}
