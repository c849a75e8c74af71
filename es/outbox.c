/* outbox.c - see outbox.h. */
#include "outbox.h"

static MDB_val
val(struct str s)
{
	return (MDB_val){ s.n, (void *)s.p };
}

int
outbox_put(MDB_txn *txn, MDB_dbi dbi, struct str id)
{
	uint64_t generation = mdb_txn_id(txn); /* grows with each write transaction */
	MDB_val key = val(id), data = { sizeof generation, &generation };

	return mdb_put(txn, dbi, &key, &data, 0);
}

int
outbox_settle(MDB_txn *txn, MDB_dbi dbi, struct str id, uint64_t generation)
{
	MDB_val key = val(id), data;
	int rc = mdb_get(txn, dbi, &key, &data);

	if (rc == MDB_NOTFOUND || (rc == 0 && (data.mv_size != sizeof generation || memcmp(data.mv_data, &generation, sizeof generation))))
		return 0;
	return rc ? rc : mdb_del(txn, dbi, &key, NULL);
}

int
outbox_next(MDB_txn *txn, MDB_dbi dbi, struct str after, struct str *id, uint64_t *generation)
{
	MDB_val key = val(after), data;
	MDB_cursor *c;
	int rc = mdb_cursor_open(txn, dbi, &c);

	if (rc)
		return rc;
	rc = mdb_cursor_get(c, &key, &data, after.n ? MDB_SET_RANGE : MDB_FIRST);
	if (rc == 0 && after.n && key.mv_size == after.n && !memcmp(key.mv_data, after.p, after.n))
		rc = mdb_cursor_get(c, &key, &data, MDB_NEXT);
	mdb_cursor_close(c);
	if (rc)
		return rc;
	if (data.mv_size != sizeof *generation)
		return MDB_CORRUPTED;
	*id = (struct str){ key.mv_data, key.mv_size };
	memcpy(generation, data.mv_data, sizeof *generation);
	return 0;
}
